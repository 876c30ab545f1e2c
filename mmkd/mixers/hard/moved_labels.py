"""Labels of learned augmentations: they move and mix with their images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from torch import Tensor

from mmkd.mixers.hard import Augmented
from mmkd.mixers.samples import mix_samples
from mmkd.utils import ConfigError
from mmkd.view import Part

IGNORE = 255


def move_labels(
    samples: Any, augmented: Augmented, num_classes: int | None
) -> tuple[Any, list[Part]]:
    """Return the labels of augmented images; the given samples are not changed.

    Labels of images stay, or become soft where another image is mixed in. Label maps are sampled
    like their images, at the nearest pixel; what comes from outside is ignored (255), and where
    images are mixed the stronger one keeps its labels.

    Args:
        samples: N data samples of the clean batch.
        augmented: What was done to the images.
        num_classes: Classes of soft labels; None takes it from the samples.

    Returns:
        The samples, and how the images are mixed; empty where none is.

    Raises:
        ConfigError: The samples hold boxes and their images have moved or are mixed.
    """
    share, partner = augmented.share, augmented.partner
    first = samples[0] if samples else {}
    if 'gt_instances' in first and (augmented.matrices is not None or share is not None):
        raise ConfigError(
            'model.distill.mixer.augmentor',
            'boxes are not moved along with learned transforms; for detection use a bank without '
            'affine and blend, or mmkd.PatchMix, mmkd.CutMix, mmkd.MixUp',
        )
    parts = []
    if share is not None and partner is not None and bool(share.any()):
        own = torch.arange(len(share), device=share.device)
        size = augmented.images.shape[-2:]
        weight = share.detach()[:, None, None, None].expand(-1, 1, *size)
        parts = [Part(own, 1 - weight), Part(partner, weight)]
        samples = mix_samples(samples, parts, False, 0.0, num_classes)
    if augmented.matrices is not None and 'gt_sem_seg' in first:
        samples = [s.new() for s in samples]
        for sample, matrix in zip(samples, augmented.matrices):
            labels = sample.gt_sem_seg.data  # (1, H, W)
            sample.gt_sem_seg = PixelData(data=move_map(labels, matrix))
    return samples, parts


def move_map(labels: Tensor, matrix: Tensor) -> Tensor:
    """Sample a label map (1, H, W) as :func:`~mmkd.functional.affine_warp` samples its image.

    Args:
        labels: Classes, whole numbers.
        matrix: (2, 3).

    Returns:
        Map of the same shape and type, 255 outside.
    """
    maps = torch.stack([labels.float(), torch.ones_like(labels, dtype=torch.float)], 1)
    grid = F.affine_grid(matrix[None].float(), list(maps.shape), align_corners=False)
    value, inside = F.grid_sample(maps, grid, mode='nearest', align_corners=False)[0]
    return torch.where(inside > 0.5, value.to(labels), IGNORE)[None].to(labels)
