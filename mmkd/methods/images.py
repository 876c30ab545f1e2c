"""What the methods for image classifiers share: labels, sample numbers, refusals."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.utils import ConfigError


def class_labels(data_samples: Any, num_classes: int, like: Tensor, soft: bool = True) -> Tensor:
    """Return the label distributions of N images.

    Args:
        data_samples: N data samples with ``gt_label`` or, of mixed images, ``gt_score``.
        num_classes: Number of classes K.
        like: A tensor of the device and the type that the result gets.
        soft: Prefer ``gt_score``. Without it an image of a mixed batch has its own label. Defaults
            to True.

    Returns:
        Distributions (N, K).

    Raises:
        ConfigError: The images have no single label.
    """
    samples = list(data_samples or [])
    if samples and soft and 'gt_score' in samples[0]:  # all or none, as in mmpretrain's own head
        return torch.stack([sample.gt_score for sample in samples]).to(like)
    if not samples or any('gt_label' not in s or s.gt_label.numel() != 1 for s in samples):
        raise ConfigError(
            'train_dataloader.dataset', 'the method needs images with one class label each'
        )
    labels = torch.cat([sample.gt_label.flatten() for sample in samples]).to(like.device)
    return F.one_hot(labels, num_classes).to(like)


def sample_indices(data_samples: Any) -> list[int]:
    """Return the numbers of N images in their data set.

    Raises:
        ConfigError: They have none.
    """
    numbers = [getattr(s, 'metainfo', {}).get('sample_idx') for s in data_samples or []]
    if not numbers or None in numbers:
        raise ConfigError(
            'train_dataloader.dataset.pipeline',
            "the method needs to know which image is which: pack the meta key 'sample_idx', which "
            "mmpretrain's PackInputs does by default",
        )
    return [int(number) for number in numbers if number is not None]


def check_logits(student: Any, key: str) -> int:
    """Check that a student's tap yields one tensor of image logits.

    Args:
        student: What the tap yields on the probe.
        key: Config key of the method.

    Returns:
        Number of classes K.

    Raises:
        ConfigError: It yields something else.
    """
    shapes = [tuple(t.shape) for t in student]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] < 2:
        raise ConfigError(
            f'{key}.student',
            f'is a tap of logits (N, K) of at least two classes, such as head.fc, not {shapes}',
        )
    return shapes[0][1]


def refuse_batch_augments(student: nn.Module, key: str) -> None:
    """Refuse mmpretrain's own batch augmentations, which do not tell what they have mixed.

    Raises:
        ConfigError: The student's data preprocessor has some.
    """
    preprocessor = getattr(student, 'data_preprocessor', None)
    if getattr(preprocessor, 'batch_augments', None) is not None:
        raise ConfigError(
            'model.train_cfg.augments',
            f'{key} has to know which image is which, and these augmentations do not tell what '
            'they mix; set model.train_cfg=None',
        )


def refuse_mixer(mixer: nn.Module | None, key: str) -> None:
    """Refuse every mixer, for methods that compare images with one another.

    Raises:
        ConfigError: There is one.
    """
    if mixer is not None:
        raise ConfigError(
            'model.distill.mixer', f'{key} compares images with one another, so none may be mixed'
        )
