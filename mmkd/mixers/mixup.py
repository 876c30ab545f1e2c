"""MixUp: weighted means of two images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.base import Mixer, beta, partners
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, one_of, positive


@MODELS.register_module()
class MixUp(Mixer):
    """Mix every image with another one, ``x̃ = λ x + (1 - λ) x'``.

    Source: Zhang et al., "mixup", ICLR 2018, eq. 1; λ ~ Beta(α, α) for every image.

    Args:
        alpha: Parameter of the Beta distribution. Defaults to 1.0.
        teacher_on_mixed: See the base class. Defaults to True, ordinary MixUp distillation.
        partial: Share p of a batch of N images for which ``int(N p)`` images are drawn that stay
            as they are, λ = 1 (Choi et al., WACV 2023). They can still be the other image of a
            mixed one. Defaults to 0.0, all are mixed.
        partial_mode: How they are drawn. ``'exact'``: each once. ``'with_replacement'``: as in the
            authors' code, where the same image may be drawn again, so that many more are mixed:
            with p = 0.9 and N = 64 it is 41 % instead of 11 %. Defaults to ``'exact'``.
        **kwargs: See :class:`~mmkd.mixers.base.Mixer`.

    Deviations: λ is drawn for every image, as in hchoi71/MIX-KD@6e8c149; the code of mixup draws
    one for the batch. No image is mixed with itself. Classification labels are mixed with λ as in
    the paper. Boxes and label maps cannot be averaged: λ ≥ ½ then, detection trains on the boxes of
    both images (those of the fainter one are ignored where its share is below ``min_visibility``),
    segmentation on the label map of the stronger one.
    """

    regional = False

    def __init__(
        self,
        alpha: float = 1.0,
        teacher_on_mixed: bool = True,
        partial: float = 0.0,
        partial_mode: str = 'exact',
        **kwargs: Any,
    ) -> None:
        super().__init__(teacher_on_mixed=teacher_on_mixed, **kwargs)
        self.alpha = positive(alpha=alpha)
        if not 0 <= partial < 1:  # with 1 nothing would be mixed
            raise ConfigError('partial', f'must be in [0, 1), got {partial}')
        self.partial = partial
        self.partial_mode = one_of(('exact', 'with_replacement'), partial_mode=partial_mode)

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw one λ for every image; see the base class."""
        share = beta(self.alpha, batch, generator)
        # The pair (i, j) is drawn as often as (j, i), so λ ≥ ½ loses nothing.
        share = torch.maximum(share, 1 - share).reshape(batch, 1, 1, 1)
        own, partner = partners(batch, 2, generator).unbind(1)
        kept = int(batch * self.partial)
        if self.partial_mode == 'exact':
            share[torch.randperm(batch, generator=generator)[:kept]] = 1.0
        else:
            share[torch.randint(batch, (kept,), generator=generator)] = 1.0
        return [(own, share), (partner, 1 - share)]
