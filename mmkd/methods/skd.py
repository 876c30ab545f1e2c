"""Structured knowledge distillation: pairwise similarities."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import resize_to, unit_pixels
from mmkd.methods.base import Maps, Method
from mmkd.registry import MODELS
from mmkd.utils import ensure
from mmkd.view import View

EPS = 1e-8  # added to a detached norm


def similarities(feature: Tensor, detach_norm: bool = True) -> Tensor:
    """Cosine similarities between all locations of an image.

    Args:
        feature: Map (N, C, H, W).
        detach_norm: Treat the norm of a location as a constant. The gradient then has a part along
            the location itself. Defaults to True.

    Returns:
        Matrices (N, H·W, H·W).
    """
    if detach_norm:
        norm = feature.detach().norm(dim=1, keepdim=True) + EPS
        rows = (feature / norm).flatten(2).transpose(1, 2)  # (N, H·W, C)
    else:
        rows = unit_pixels(feature)
    return rows @ rows.transpose(1, 2)


def pairwise_loss(student: Tensor, teacher: Tensor, detach_norm: bool = True) -> Tensor:
    """Mean squared difference of the similarities of student and teacher.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.
        detach_norm: See :func:`similarities`. Defaults to True.

    Returns:
        Scalar; 0 where the student equals the teacher. Both matrices (N, H·W, H·W) exist at once.
    """
    s, t = (similarities(x, detach_norm) for x in (student, teacher))
    return (s - t).square().mean()


def pool_map(feature: Tensor, window: tuple[int, int]) -> Tensor:
    """Take the maxima of windows, which are cut off at the right and lower edge."""
    return F.max_pool2d(feature, window, ceil_mode=True) if window != (1, 1) else feature


@MODELS.register_module()
class SKD(Method):
    """Pull the cosine similarities between the nodes of an image towards the teacher's.

    ``L = mean (S_s - S_t)²`` with ``S = F̂ᵀF̂`` of the nodes, the maxima of windows of the map, of
    unit length.

    Source: Liu et al., "Structured Knowledge Distillation for Semantic Segmentation", CVPR 2019,
    section 3.2 (pair-wise distillation). The defaults are those of the authors' code,
    ``irfanICMLL/structure_knowledge_distillation@ce208e1``: windows of half the map and a detached
    norm (weight 1 by default, 0.5 in its script). ``pool=2, detach_norm=False`` is the
    re-implementation in ``winycg/CIRKD@dab64db`` (weight 10).

    Args:
        student: Tap of maps (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of maps (N, C_teacher, H, W).
        pool: Windows of the max-pooling: an integer is their side in locations, a number below 1
            their side as a share of the map's, rounded down. Defaults to 0.5: four nodes on a map
            of even sides. The matrices have nodes² entries for each image.
        detach_norm: Treat the norm of a node as a constant, with 1e-8 added. Defaults to True.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the pairwise term alone. The pixel term is
    :class:`~mmkd.methods.logit_kd.LogitKD`; the adversarial term is left out. Student maps of
    another size are interpolated to the teacher's. In both codes the student's map has passed the
    dropout in front of the classifier; in mmseg that is the tap ``decode_head.dropout``.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        pool: float = 0.5,
        detach_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        valid = (type(pool) is int and pool >= 1) or (type(pool) is float and 0 < pool < 1)
        text = f'must be a positive integer or a number between 0 and 1, got {pool!r}'
        ensure(valid, 'pool', text)
        self.pool = pool
        self.detach_norm = detach_norm

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes. Similarities have no channels, so nothing is aligned."""
        self.check_pairs(student, teacher, ndim=4)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``pairwise``, the mean over the maps."""
        losses = []
        for s, t in zip(student, teacher):
            size = tuple(t.shape[-2:])
            window = self.window(size)
            s, t = (pool_map(x, window) for x in (resize_to(s, size), t))
            losses.append(pairwise_loss(s, t, self.detach_norm))
        return dict(pairwise=torch.stack(losses).mean())

    def window(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the pooling windows on a map (H, W), in locations."""
        sides = (self.pool if self.pool >= 1 else max(int(self.pool * side), 1) for side in size)
        height, width = map(int, sides)
        return height, width
