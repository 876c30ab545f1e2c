"""CIFAR files that are not the official archive's, byte for byte."""

from __future__ import annotations

from typing import Any

from mmkd.registry import DATASETS


@DATASETS.register_module()
def UncheckedCIFAR100(**kwargs: Any) -> Any:  # noqa: N802, named as the class that it stands for
    """Build mmpretrain's ``CIFAR100`` without comparing its files with the official MD5 sums.

    For files in the official layout that were written anew, such as pickles rebuilt from images.
    It is an option for a run: ``--cfg-options
    train_dataloader.dataset.type=mmkd.UncheckedCIFAR100``, and the same for val and test. Missing
    files are an error; nothing is downloaded.

    Args:
        **kwargs: Arguments of mmpretrain's ``CIFAR100`` but ``download``.

    Returns:
        The data set.
    """
    from mmpretrain.datasets import CIFAR100

    class Unchecked(CIFAR100):
        train_list = tuple((name, None) for name, _ in CIFAR100.train_list)
        test_list = tuple((name, None) for name, _ in CIFAR100.test_list)
        meta = {**CIFAR100.meta, 'md5': None}  # noqa: RUF012, read-only

    return Unchecked(**{**kwargs, 'download': False})
