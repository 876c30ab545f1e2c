"""CutMix: a box of another image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.base import Mixer, beta, partners
from mmkd.registry import MODELS
from mmkd.utils import positive


@MODELS.register_module()
class CutMix(Mixer):
    """Replace one box of every image by the same box of another image.

    Source: Yun et al., "CutMix", ICCV 2019, eq. 1-2: the box has the share 1 - λ of the image,
    λ ~ Beta(α, α), its center is uniform, and it is clipped at the border.

    Args:
        alpha: Parameter of the Beta distribution. Defaults to 1.0.
        teacher_on_mixed: See the base class. Defaults to True, ordinary CutMix distillation.
        **kwargs: See :class:`~mmkd.mixers.base.Mixer`.

    Deviations: the box is not rounded to whole pixels; it holds every pixel whose center is inside.
    The authors round its sides down, so boxes cover 2.4 percentage points more here of an image of
    32 pixels, 0.4 of one of 224. No image is mixed with itself.
    """

    def __init__(self, alpha: float = 1.0, teacher_on_mixed: bool = True, **kwargs: Any) -> None:
        super().__init__(teacher_on_mixed=teacher_on_mixed, **kwargs)
        self.alpha = positive(alpha=alpha)

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw one box for the batch; see the base class."""
        height, width = size
        ratio = (1 - float(beta(self.alpha, 1, generator))) ** 0.5
        cy, cx = torch.rand(2, generator=generator).tolist()
        half_h, half_w = ratio * height / 2, ratio * width / 2
        ys, xs = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        rows = (ys - cy * height).abs() < half_h
        columns = (xs - cx * width).abs() < half_w
        box = (rows[:, None] & columns[None]).float()[None, None]  # (1, 1, H, W)
        own, partner = partners(batch, 2, generator).unbind(1)
        return [(own, 1 - box), (partner, box)]
