"""Structured knowledge distillation: pairwise similarities."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import resize_to, unit_pixels
from mmkd.methods.base import Maps, Method
from mmkd.registry import MODELS
from mmkd.utils import integer
from mmkd.view import View


def pairwise_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the cosine similarities between all locations of an image.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.

    Returns:
        Scalar; 0 where the student equals the teacher. Both matrices (N, H·W, H·W) exist at once.
    """
    s, t = (p @ p.transpose(1, 2) for p in map(unit_pixels, (student, teacher)))
    return (s - t).square().mean()


@MODELS.register_module()
class SKD(Method):
    """Pull the cosine similarities between the locations of an image towards the teacher's.

    ``L = mean (S_s - S_t)²`` with ``S = F̂ᵀF̂`` of the max-pooled locations of unit length.

    Source: Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    section 3.2 (pair-wise distillation).

    Args:
        student: Tap of maps (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of maps (N, C_teacher, H, W).
        pool: Side of the pooling windows, in locations. The matrices have (H·W / pool²)² entries
            for each image. Defaults to 2.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the pairwise term alone. The paper's pixel term is
    :class:`~mmkd.methods.logit_kd.LogitKD`; its adversarial term is left out. Student maps of
    another size are interpolated to the teacher's.
    """

    def __init__(self, student: Any, teacher: Any, pool: int = 2, **kwargs: Any) -> None:
        super().__init__(student, teacher, **kwargs)
        self.pool = integer(1, pool=pool)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes. Similarities have no channels, so nothing is aligned."""
        self.check_pairs(student, teacher, ndim=4)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``pairwise``, the mean over the maps."""
        losses = []
        for s, t in zip(student, teacher):
            s = resize_to(s, tuple(t.shape[-2:]))
            if self.pool > 1:
                s, t = (F.max_pool2d(x, self.pool, ceil_mode=True) for x in (s, t))
            losses.append(pairwise_loss(s, t))
        return dict(pairwise=torch.stack(losses).mean())
