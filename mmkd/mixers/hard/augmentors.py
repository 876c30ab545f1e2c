"""Learned augmentations: base class, strengths, color, noise, blend, and a choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import relaxed_choice
from mmkd.mixers.base import partners
from mmkd.registry import MODELS, build
from mmkd.utils import ConfigError, between, integer, non_negative, positive

LOOK = 16  # side to which images are averaged for the small network
BANK = tuple(dict(type=f'mmkd.{name}Augmentor') for name in ('Affine', 'Colour', 'Noise', 'Blend'))


@dataclass
class Augmented:
    """An augmented batch, and how its labels change.

    Args:
        images: (N, C, H, W).
        matrices: (N, 2, 3) where pixels have moved, see
            :func:`~mmkd.mixers.hard.affine.affine_matrix`. Defaults to None.
        partner: Index (N,) of the image that is mixed in. Defaults to None.
        share: Its share (N,) in 0..½. Defaults to None.
    """

    images: Tensor
    matrices: Tensor | None = None
    partner: Tensor | None = None
    share: Tensor | None = None

    def where(self, chosen: Tensor, images: Tensor) -> Augmented:
        """Keep what was done to the chosen images (N,), bool; the others are those given."""
        matrices, share = self.matrices, self.share
        if matrices is not None:
            identity = torch.eye(2, 3).to(matrices)
            matrices = torch.where(chosen[:, None, None], matrices, identity)
        if share is not None:
            share = torch.where(chosen, share, 0)
        kept = torch.where(chosen[:, None, None, None], self.images, images)
        return Augmented(kept, matrices, self.partner, share)


class Augmentor(nn.Module):
    """Base class of augmentations ``g_φ(x, ε)`` whose parameters φ are learned.

    Every family starts as the identity, exactly, and is bounded by construction.
    """

    #: Whether pixels move, so that labels of regions have to move with them.
    moves: bool = False
    #: Whether another image is mixed in, which makes classifiers' labels soft.
    mixes: bool = False

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Augment a batch.

        Args:
            images: Clean batch (N, C, H, W), normalized as for the student.
            generator: CPU generator of this step, for ε.
        """
        raise NotImplementedError

    def strengths(self) -> dict[str, Tensor]:
        """Return scalars that describe the current augmentation, for the log."""
        return {}


class Policy(nn.Module):
    """Strengths in -1..1 for each image: ``tanh(u)``, zero at the start.

    ``u = h(x, ε)`` of a small network whose last layer starts at 0, or ``u = μ + σ ε`` with free
    parameters μ = σ = 0; ε ~ N(0, I) has D entries.

    Args:
        count: Number of strengths D.
        hidden: Width of the network, whose input is a gray image of at most 16×16 pixels; 0 for
            free parameters.

    Raises:
        ConfigError: ``hidden`` is negative.
    """

    def __init__(self, count: int, hidden: int) -> None:
        super().__init__()
        integer(0, hidden=hidden)
        self.count = count
        self.look: nn.Module | None = None
        if hidden:
            self.look = nn.Sequential(
                nn.Conv2d(1, hidden, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.hidden = nn.Linear(hidden + count, hidden)
            self.last = nn.Linear(hidden, count)
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        else:
            self.mean = nn.Parameter(torch.zeros(count))
            self.std = nn.Parameter(torch.zeros(count))

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the strengths (N, D)."""
        noise = torch.randn(len(images), self.count, generator=generator).to(images)
        if self.look is None:
            return (self.mean + self.std * noise).tanh()
        gray = images.mean(1, keepdim=True)
        size = (min(LOOK, gray.shape[2]), min(LOOK, gray.shape[3]))
        seen = self.look(F.adaptive_avg_pool2d(gray, size))  # (N, hidden)
        return self.last(F.relu(self.hidden(torch.cat([seen, noise], 1)))).tanh()


@MODELS.register_module()
class ColourAugmentor(Augmentor):
    """Change brightness and contrast, ``x̃ = x + c (x - mean(x)) + b``.

    Args:
        brightness: Largest ``|b|``, in standard deviations of the data. Defaults to 0.5.
        contrast: Largest ``|c|``. Defaults to 0.5.
        hidden: See :class:`Policy`. Defaults to 16.
    """

    def __init__(self, brightness: float = 0.5, contrast: float = 0.5, hidden: int = 16) -> None:
        super().__init__()
        self.brightness = non_negative(brightness=brightness)
        self.contrast = between(0, 1, contrast=contrast)
        self.policy = Policy(2, hidden)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Change the colors of a batch; see the base class."""
        drawn = self.policy(images, generator)[:, :, None, None, None]  # (N, 2, 1, 1, 1)
        centered = images - images.mean((1, 2, 3), keepdim=True)
        changed = self.contrast * drawn[:, 0] * centered + self.brightness * drawn[:, 1]
        return Augmented(images + changed)


@MODELS.register_module()
class NoiseAugmentor(Augmentor):
    """Add Gaussian noise, ``x̃ = x + s n``.

    Args:
        std: Largest ``|s|``, in standard deviations of the data. Defaults to 0.3.
        hidden: See :class:`Policy`. Defaults to 16.
    """

    def __init__(self, std: float = 0.3, hidden: int = 16) -> None:
        super().__init__()
        self.std = non_negative(std=std)
        self.policy = Policy(1, hidden)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Add noise to a batch; see the base class."""
        drawn = self.policy(images, generator)[:, :, None, None]  # (N, 1, 1, 1)
        noise = torch.randn(images.shape, generator=generator).to(images)
        return Augmented(images + self.std * drawn * noise)


@MODELS.register_module()
class BlendAugmentor(Augmentor):
    """Mix another image of the batch in, ``x̃ = x + λ (x' - x)``, with 0 ≤ λ ≤ ``share``.

    Args:
        share: Largest λ, at most ½, so that the image stays the stronger one. Defaults to 0.5.
        hidden: See :class:`Policy`. Defaults to 16.

    Deviations: strengths below 0 mean λ = 0.
    """

    mixes = True

    def __init__(self, share: float = 0.5, hidden: int = 16) -> None:
        super().__init__()
        self.share = between(0, 0.5, share=share)
        self.policy = Policy(1, hidden)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Mix a batch with itself; see the base class."""
        # clamp passes the gradient on at 0 itself, where the augmentor starts.
        share = self.share * self.policy(images, generator)[:, 0].clamp(min=0)  # (N,)
        partner = partners(len(images), 2, generator)[:, 1].to(images.device)
        mixed = images + share[:, None, None, None] * (images[partner] - images)
        return Augmented(mixed, partner=partner, share=share)


@MODELS.register_module()
class MixtureAugmentor(Augmentor):
    """Choose one of several augmentations for every image, with learned probabilities.

    ``g(x) = Σ_m c_m g_m(x)``, c one-hot by Gumbel-softmax over learned logits. Probabilities and
    strengths are learned together.

    Args:
        bank: Configs of the augmentors g_m. Defaults to affine, color, noise and blend.
        tau: Temperature of the backward pass. Defaults to 1.0.

    Raises:
        ConfigError: The bank is empty, or something in it is no augmentor.
    """

    def __init__(self, bank: Sequence[Any] = BANK, tau: float = 1.0) -> None:
        super().__init__()
        if not bank:
            raise ConfigError('bank', 'must not be empty')
        self.tau = positive(tau=tau)
        self.bank = nn.ModuleList(
            build(config, Augmentor, f'bank.{i}') for i, config in enumerate(bank)
        )
        self.logits = nn.Parameter(torch.zeros(len(bank)))
        self.moves = any(op.moves for op in self.bank)
        self.mixes = any(op.mixes for op in self.bank)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Augment a batch; see the base class."""
        uniform = torch.rand(len(images), len(self.bank), generator=generator).to(images)
        choice = relaxed_choice(self.logits, uniform, self.tau, hard=True)  # (N, M)
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
