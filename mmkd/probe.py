"""The small batch on which models are measured at build time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, TypeVar

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmkd.registry import find_task
from mmkd.taps import Tap, TapReader
from mmkd.utils import ConfigError, ensure

# Sides of the probe images, in this order, unless the config or a model names a size.
SIDES = (128, 224, 256, 384, 64, 32, 512, 800)
LARGE = 384  # sides that a model names are tried first up to here
Size = tuple[int, int]
T = TypeVar('T')


def probe(
    models: Sequence[nn.Module],
    size: Size | None,
    run: Callable[[Tensor, list[Any], bool], T],
    key: str = 'model.distill.probe_size',
) -> tuple[Size, T]:
    """Run models on a probe batch; without a given size, of the first size that they all accept.

    A size at which the models run to their end comes before one at which they run to the deepest
    tap: a head that fails on a map of one pixel has been called too few times before.

    Args:
        models: The models that ``run`` runs; the batch has the channels and samples of the first.
        size: Height and width of the images, or None.
        run: Takes N inputs (N, C, H, W), N data samples, and whether the models must run to their
            end.
        key: Config key of the size. Defaults to ``'model.distill.probe_size'``.

    Returns:
        The size, and what ``run`` returned.

    Raises:
        ConfigError: A model cannot run images of any of the sizes.
    """
    if size is not None:
        ensure(is_size(size), key, f'must be a height and a width in pixels, got {size!r}')
        size = (size[0], size[1])
    sizes = probe_sizes(models) if size is None else [size]
    reason: Exception | None = None
    small = [tried for tried in sizes if max(tried) <= LARGE]
    large = [tried for tried in sizes if max(tried) > LARGE]
    tries = [(s, whole) for group in (small, large) for whole in (True, False) for s in group]
    for tried, whole in tries:
        try:
            return tried, run(*probe_batch(models[0], tried), whole)
        except ConfigError:
            raise
        except Exception as error:  # models of any package, which may raise anything
            reason = reason or error
    listed = ', '.join(f'{h}×{w}' for h, w in sizes)
    message = str(reason).strip().partition('\n')[0]
    raise ConfigError(
        key,
        f'a model cannot run a batch of images of {listed} pixels: {type(reason).__name__}: '
        f'{message}; set it to a height and width that student and teacher accept',
    ) from reason


def is_size(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether a value is a height and a width."""
    pair = isinstance(value, Sequence) and len(value) == 2
    return pair and all(type(side) is int and side > 0 for side in value)


def probe_sizes(models: Sequence[nn.Module]) -> list[Size]:
    """Return the sizes to try: those that models are built for, and a ladder."""
    own = [size for model in models for size in own_sizes(model)]
    small = [size for size in own if max(size) <= LARGE]
    large = [size for size in own if max(size) > LARGE]
    divisors = [getattr(preprocessor_of(model), 'pad_size_divisor', 1) or 1 for model in models]
    ladder = [-(-side // max(divisors)) * max(divisors) for side in SIDES]
    return list(dict.fromkeys([*small, *((side, side) for side in ladder), *large]))


def own_sizes(model: nn.Module) -> list[Size]:
    """Return the image sizes that a model's modules are built for, if they say so."""
    found = []
    for module in model.modules():
        for name in ('img_size', 'init_input_size'):
            size = getattr(module, name, None)
            size = (size, size) if isinstance(size, int) else size
            if is_size(size):
                found.append((size[0], size[1]))
    return list(dict.fromkeys(found))


def preprocessor_of(model: nn.Module) -> Any:
    """Return a model's data preprocessor, or None."""
    return getattr(model, 'data_preprocessor', None)


def probe_batch(model: nn.Module, size: Size) -> tuple[Tensor, list[Any]]:
    """Return an empty batch (2, C, *size) and samples of the model's task without objects."""
    mean = getattr(preprocessor_of(model), 'mean', None)
    channels = len(mean) if isinstance(mean, Tensor) else 3
    names = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    meta = dict(dict.fromkeys(names, size), scale_factor=(1.0, 1.0), flip=False, img_path='')
    return torch.zeros(2, channels, *size), [sample_of(find_task(model), meta) for _ in range(2)]


def sample_of(task: str | None, meta: dict[str, Any]) -> Any:
    """Return a data sample of a task, with no object and with meta information."""
    if task == 'det':
        from mmdet.structures import DetDataSample

        empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        return DetDataSample(metainfo=meta, gt_instances=empty, ignored_instances=empty.clone())
    if task == 'seg':
        from mmseg.structures import SegDataSample

        return SegDataSample(metainfo=meta)
    if task == 'cls':
        from mmpretrain.structures import DataSample

        return DataSample(metainfo=meta)
    return BaseDataElement(metainfo=meta)


@torch.no_grad()
def run_probe(
    model: nn.Module, reader: TapReader, inputs: Tensor, samples: Any, whole: bool = False
) -> dict[Tap, list[Tensor]]:
    """Run a copy of a model on a probe batch and return the tapped tensors.

    SyncBN does not run on a CPU, and the student's own statistics and modes must not change.
    """
    twin = revert_sync_batchnorm(copy.deepcopy(model)).eval()
    return reader.read(twin, inputs, samples, whole=whole)[1]
