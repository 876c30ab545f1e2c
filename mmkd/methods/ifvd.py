"""Intra-class feature variation distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import one_hot_pixels, region_means, resize_labels, resize_to
from mmkd.methods.base import Maps, Method
from mmkd.methods.segmentation import label_maps, number_of_classes
from mmkd.registry import MODELS
from mmkd.view import View

EPS = 1e-8  # smallest norm of a location or prototype


def class_similarity(
    feature: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Cosine between every location and the prototype of its class.

    A prototype is the mean over the locations of a class in one image. An ignored location is its
    own prototype, with cosine 1, or 0 where it is a vector of zeros.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored locations. Defaults to 255.

    Returns:
        Similarities (N, H, W).
    """
    pixels = feature.flatten(2).transpose(1, 2)  # (N, H·W, C)
    prototypes, _ = region_means(feature, labels, num_classes, ignore_index)  # (N, K, C)
    # With the prototypes of all classes, because a prototype for every location is one more map.
    products = pixels @ prototypes.transpose(1, 2)  # (N, H·W, K)
    flat = labels.flatten(1)  # (N, H·W)
    index = flat.clamp(0, num_classes - 1)
    product = products.gather(2, index[..., None])[..., 0]
    norms = [x.norm(dim=2) for x in (pixels, prototypes)]
    clamped = [norm.clamp(min=EPS) for norm in norms]
    cosine = product / (clamped[0] * clamped[1].gather(1, index))
    own = (norms[0] / clamped[0]).detach().square()  # exactly 1, below a norm of EPS less
    known = (flat == index) & (flat != ignore_index)
    return torch.where(known, cosine, own).unflatten(1, feature.shape[-2:])


def variation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    mask_ignored: bool = False,
) -> Tensor:
    """Mean squared difference of the similarities of student and teacher.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.
        labels: Class indices (N, H, W).
        num_classes: Number of classes K.
        ignore_index: Label of ignored locations. Defaults to 255.
        mask_ignored: Leave ignored locations out of the mean. Otherwise they count, with a
            difference of 0 (1 where one side alone is a vector of zeros). Defaults to False.

    Returns:
        Scalar; 0 where the student equals the teacher. Ignored locations have no gradient.
    """
    known = labels, num_classes, ignore_index
    difference = class_similarity(student, *known) - class_similarity(teacher, *known)  # (N, H, W)
    squared = difference.square()
    if not mask_ignored:
        return squared.mean()
    valid = one_hot_pixels(*known).sum(2).view_as(difference)
    return (squared * valid).sum() / valid.sum().clamp(min=1)


@MODELS.register_module()
class IFVD(Method):
    """Pull the similarity of every location to its class prototype towards the teacher's.

    ``L = mean_p (cos(s_p, c_s(y_p)) - cos(t_p, c_t(y_p)))²`` with the prototype c(k) = mean over
    the locations of class k in the image, on each side from its own map.

    Source: Wang et al., "Intra-class Feature Variation Distillation for Semantic Segmentation",
    ECCV 2020, section 3; ``YukangWang/IFVD@950a7a5`` (weight 200) and ``winycg/CIRKD@dab64db``
    (weight 20), which compute the same.

    Args:
        student: Tap of maps (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of maps (N, C_teacher, H, W).
        num_classes: Number of classes K. Defaults to None: that of the teacher's decode head.
        ignore_index: Label of ignored pixels. Defaults to 255.
        mask_ignored: Leave ignored pixels out of the mean. Defaults to False: they count with a
            difference of 0, as in both codes.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the variation term alone; the pixel term is
    :class:`~mmkd.methods.logit_kd.LogitKD`, the adversarial term is left out. Student maps of
    another size are interpolated to the teacher's. In both codes the student's map has passed the
    dropout in front of the classifier; in mmseg that is the tap ``decode_head.dropout``.
    """

    tasks = ('seg',)

    def __init__(
        self,
        student: Any,
        teacher: Any,
        num_classes: int | None = None,
        ignore_index: int = 255,
        mask_ignored: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.mask_ignored = mask_ignored

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes and find the number of classes."""
        self.check_pairs(student, teacher, ndim=4)
        self.classes = number_of_classes(self, self.num_classes, teachers)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``variation``, the mean over the maps."""
        labels = label_maps(view)
        losses = []
        for s, t in zip(student, teacher):
            size = tuple(t.shape[-2:])
            known = resize_labels(labels, size), self.classes, self.ignore_index, self.mask_ignored
            losses.append(variation_loss(resize_to(s, size), t, *known))
        return dict(variation=torch.stack(losses).mean())
