"""A learned choice among augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional.warp import gumbel_choice
from mmkd.mixers.hard.augmentors import KEY, Augmented, Augmentor, check_bound
from mmkd.registry import MODELS, build
from mmkd.utils import ConfigError

BANK = tuple(dict(type=f'mmkd.{name}Augmentor') for name in ('Affine', 'Colour', 'Noise', 'Blend'))


@MODELS.register_module()
class MixtureAugmentor(Augmentor):
    """Choose one of several augmentations for every image, with learned probabilities.

    ``g(x) = Σ_m c_m g_m(x)``, c one-hot by Gumbel-softmax over learned logits. Probabilities and
    strengths are learned together.

    Args:
        bank: Configs of the augmentors g_m. Defaults to affine, colour, noise and blend.
        tau: Temperature of the backward pass. Defaults to 1.0.

    Raises:
        ConfigError: The bank is empty, or something in it is no augmentor.
    """

    def __init__(self, bank: Sequence[Any] = BANK, tau: float = 1.0) -> None:
        super().__init__()
        if not bank:
            raise ConfigError(f'{KEY}.bank', 'is empty')
        if not check_bound(tau, 'tau') > 0:
            raise ConfigError(f'{KEY}.tau', 'a temperature is positive')
        self.bank = nn.ModuleList(
            build(config, Augmentor, f'{KEY}.bank.{i}') for i, config in enumerate(bank)
        )
        self.tau = tau
        self.logits = nn.Parameter(torch.zeros(len(bank)))
        self.moves = any(op.moves for op in self.bank)
        self.mixes = any(op.mixes for op in self.bank)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Augment a batch; see the base class."""
        uniform = torch.rand(len(images), len(self.bank), generator=generator).to(images)
        choice = gumbel_choice(self.logits, uniform, self.tau)  # (N, M)
        drawn = [op(images, generator) for op in self.bank]
        mixed = sum(c[:, None, None, None] * d.images for c, d in zip(choice.T, drawn))
        result = Augmented(mixed)
        for chosen, one in zip(choice.T.detach() > 0.5, drawn):  # (N,)
            if one.matrices is not None:
                still = torch.eye(2, 3).to(one.matrices).expand_as(one.matrices)
                before = still if result.matrices is None else result.matrices
                result.matrices = torch.where(chosen[:, None, None], one.matrices, before)
            if one.share is not None and one.partner is not None:
                none = torch.zeros_like(one.share) if result.share is None else result.share
                own = torch.arange(len(images), device=images.device)
                before = own if result.partner is None else result.partner
                result.share = torch.where(chosen, one.share, none)
                result.partner = torch.where(chosen, one.partner, before)
        return result

    def strengths(self) -> dict[str, Tensor]:
        """Return the probability of every augmentation of the bank."""
        probabilities = self.logits.detach().softmax(0)
        return {f'probability_{i}': p for i, p in enumerate(probabilities)}
