"""MGD: masked generative distillation."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from mmkd.methods.base import Maps
from mmkd.methods.maps import MapMethod
from mmkd.registry import MODELS
from mmkd.utils import ensure, one_of, probability, progress, step_generator
from mmkd.view import View


@MODELS.register_module()
class MGD(MapMethod):
    """Let the student's masked map generate the teacher's whole map.

    ``L = Σ_l Σ_chw (G_l(M ⊙ φ_l(F_s^l)) - F_t^l)²``, mean over N, where G is a 3×3 convolution, a
    ReLU and another 3×3 convolution, and M masks a fraction λ of locations or channels at random.

    Source: Yang et al., "Masked Generative Distillation", ECCV 2022; ``FeatureLoss`` and
    ``MGDLoss`` of yzd-v/MGD@2c9da0b.

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W).
        mask: ``'spatial'`` masks locations (dense tasks), ``'channel'`` channels (classification).
            Defaults to ``'spatial'``.
        mask_ratio: Fraction λ that is masked, below 1. Defaults to 0.65, of RetinaNet.
        weight: See :class:`~mmkd.methods.base.Method`; the paper's α. The loss is a sum over C, H
            and W, so the weight depends on them. Defaults to 2e-5, of RetinaNet.
        **kwargs: ``normalize`` and others, see :class:`~mmkd.methods.maps.MapMethod`. The
            generated map is not normalized: G learns the scale of its target.

    Deviations: none in the loss. The mask depends on seed, iteration, rank and config key alone, so
    the student's own random numbers are those of a run without distillation and a resumed run draws
    the same masks. Maps of two sizes are interpolated; the official loss requires equal ones.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        mask: str = 'spatial',
        mask_ratio: float = 0.65,
        weight: Any = 2e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, weight=weight, **kwargs)
        self.mask = one_of(('spatial', 'channel'), mask=mask)
        self.mask_ratio = probability(mask_ratio=mask_ratio)
        ensure(mask_ratio < 1, 'mask_ratio', 'must be below 1, or nothing of the map is left')

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters and the generation blocks."""
        self.adapters = self.build_adapters(student, teacher)
        self.generators = nn.ModuleList(generation_block(t.shape[1]) for t in teacher)

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``mgd``, the sum over the levels."""
        pairs, kept = self.compared(student, teacher, view), self.draw(teacher)
        levels = [
            (generate(s * mask) - t).square().sum() / len(t)
            for generate, (s, t), mask in zip(self.generators, pairs, kept)
        ]
        return dict(mgd=torch.stack(levels).sum())

    def masks(self, student: Maps, teacher: Maps, view: View) -> list[Tensor]:
        """Return the locations (N, 1, H, W) that this step keeps; none if channels are masked."""
        return self.draw(teacher) if self.mask == 'spatial' else []

    def draw(self, maps: list[Tensor]) -> list[Tensor]:
        """Return 0 for what this step masks, 1 elsewhere: (N, 1, H, W) or (N, C, 1, 1)."""
        # Salted by the config key: two methods, and the mixer, draw different numbers.
        generator = step_generator(progress()[0], get_rank(), zlib.crc32(self.key.encode()))
        kept = []
        for x in maps:
            n, c, h, w = x.shape
            shape = (n, 1, h, w) if self.mask == 'spatial' else (n, c, 1, 1)
            drawn = torch.rand(shape, generator=generator) >= self.mask_ratio
            kept.append(drawn.to(x, non_blocking=True))
        return kept


def generation_block(channels: int) -> nn.Sequential:
    """Return two 3×3 convolutions with a ReLU between them."""
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(inplace=True), second)
