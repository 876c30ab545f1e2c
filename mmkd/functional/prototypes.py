"""Intra-class feature variation."""

from __future__ import annotations

import torch
from torch import Tensor

from mmkd.functional.labels import one_hot_pixels

EPS = 1e-8  # smallest length of a cell or prototype


def region_means(
    feature: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Mean of the cells of every class in every image.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored cells. Defaults to 255.

    Returns:
        Means (N, K, C), zeros for absent classes, and the number (N, K) of cells.
    """
    pixels = feature.flatten(2).transpose(1, 2)  # (N, H·W, C)
    members = one_hot_pixels(labels, num_classes, ignore_index).to(pixels)
    counts = members.sum(1)  # (N, K)
    means = members.transpose(1, 2) @ pixels / counts[..., None].clamp(min=1)
    return means, counts


def class_similarity(
    feature: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Cosine between every cell and the prototype of its class.

    A prototype is the mean of the cells of a class in one image. An ignored cell is its own
    prototype, with cosine 1.

    Source: Wang et al., "Intra-class Feature Variation Distillation", ECCV 2020, section 3.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored cells. Defaults to 255.

    Returns:
        Similarities (N, H, W).
    """
    pixels = feature.flatten(2).transpose(1, 2)  # (N, H·W, C)
    prototypes, _ = region_means(feature, labels, num_classes, ignore_index)  # (N, K, C)
    # With the prototypes of all classes, because a prototype for every cell is one more map.
    products = pixels @ prototypes.transpose(1, 2)  # (N, H·W, K)
    flat = labels.flatten(1)  # (N, H·W)
    index = flat.clamp(0, num_classes - 1)
    product = products.gather(2, index[..., None])[..., 0]
    lengths = [x.norm(dim=2).clamp(min=EPS) for x in (pixels, prototypes)]
    cosine = product / (lengths[0] * lengths[1].gather(1, index))
    known = (flat == index) & (flat != ignore_index)
    return torch.where(known, cosine, 1.0).unflatten(1, feature.shape[-2:])


def variation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    mask_ignored: bool = False,
) -> Tensor:
    """Mean squared difference of the similarities of student and teacher.

    Source: Wang et al., ECCV 2020, section 3.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored cells. Defaults to 255.
        mask_ignored: Leave ignored cells out of the mean, in which they otherwise count with a
            difference of 0. Defaults to False.

    Returns:
        Scalar; 0 where the student equals the teacher, and where every cell is ignored.
    """
    sides = [
        class_similarity(x, labels, num_classes, ignore_index) for x in (student, teacher)
    ]  # (N, H, W) each
    difference = (sides[0] - sides[1]).square()
    valid = one_hot_pixels(labels, num_classes, ignore_index).sum(2).view_as(difference)
    difference = difference * valid  # exactly 0 where a cell is its own prototype on both sides
    if mask_ignored:
        return difference.sum() / valid.sum().clamp(min=1)
    return difference.mean()
