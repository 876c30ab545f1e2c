"""Intra-class feature variation distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import resize_labels, resize_to, variation_loss
from mmkd.methods.base import Method, Tensors
from mmkd.methods.segmentation import classes_of, label_maps
from mmkd.registry import MODELS
from mmkd.view import View


@MODELS.register_module()
class IFVD(Method):
    """Pull the similarity of every cell to its class prototype towards the teacher's.

    ``L = mean_p (cos(s_p, c_s(y_p)) - cos(t_p, c_t(y_p)))²`` with the prototype c(k) = mean of the
    cells of class k in the image, on each side from its own map.

    Source: Wang et al., "Intra-class Feature Variation Distillation for Semantic Segmentation",
    ECCV 2020.

    Args:
        student: Tap of maps (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of maps (N, C_teacher, H, W).
        num_classes: Number of classes K. Defaults to None: that of the teacher's decode head.
        ignore_index: Label of ignored pixels. Defaults to 255.
        mask_ignored: Leave ignored pixels out of the mean. Defaults to False: they count with a
            difference of 0, as in the reference.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the variation term alone; the paper's pixel term is
    :class:`~mmkd.methods.logit_kd.LogitKD`, its adversarial term is left out. Student maps of
    another size are interpolated to the teacher's.
    """

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

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Check the shapes and find the number of classes."""
        assert isinstance(student, list) and isinstance(teacher, list)
        self.check_pairs(student, teacher, ndim=4)
        self.classes = classes_of(self, self.num_classes, teachers)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``variation``, the mean over the maps."""
        labels = label_maps(view)
        losses = []
        for s, t in zip(student, teacher):
            size = tuple(t.shape[-2:])
            losses.append(
                variation_loss(
                    resize_to(s, size),
                    t,
                    resize_labels(labels, size),
                    self.classes,
                    self.ignore_index,
                    self.mask_ignored,
                )
            )
        return dict(variation=torch.stack(losses).mean())
