"""MixUp: weighted means of two images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.base import Mixer
from mmkd.mixers.draws import beta, partners
from mmkd.registry import MODELS


@MODELS.register_module()
class MixUp(Mixer):
    """Mix every image with another one, ``x̃ = λ x + (1 - λ) x'``.

    Source: Zhang et al., "mixup", ICLR 2018, eq. 1; λ ~ Beta(α, α) for every image.

    Args:
        alpha: Parameter of the Beta distribution. Defaults to 1.0.
        teacher_on_mixed: See the base class. Defaults to True, ordinary MixUp distillation.
        **kwargs: See :class:`~mmkd.mixers.base.Mixer`.

    Deviations: classification labels are mixed with λ as in the paper. Boxes and label maps
    cannot be averaged: λ ≥ ½ then, detection trains on the boxes of both images (those of the
    fainter one are ignored where its share is below ``min_visibility``), segmentation on the label
    map of the stronger one.
    """

    regional = False

    def __init__(self, alpha: float = 1.0, teacher_on_mixed: bool = True, **kwargs: Any) -> None:
        super().__init__(teacher_on_mixed=teacher_on_mixed, **kwargs)
        self.alpha = alpha

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw one λ for every image; see the base class."""
        share = beta(self.alpha, batch, generator)
        # The pair (i, j) is drawn as often as (j, i), so λ ≥ ½ loses nothing.
        share = torch.maximum(share, 1 - share).reshape(batch, 1, 1, 1)
        own, partner = partners(batch, 2, generator).unbind(1)
        return [(own, share), (partner, 1 - share)]
