"""The base class of learned augmentations, and what draws their strengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.utils import ConfigError

KEY = 'model.distill.mixer.augmentor'
# Side to which images are averaged before the small network looks at them.
LOOK = 16


@dataclass
class Augmented:
    """An augmented batch, and what its labels have to know of it.

    Args:
        images: (N, C, H, W).
        matrices: (N, 2, 3) as of :func:`~mmkd.functional.affine_matrix` where pixels have moved.
            Defaults to None.
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
            images: Clean batch (N, C, H, W), normalised as the student sees it.
            generator: CPU generator of this step, for ε.
        """
        raise NotImplementedError

    def strengths(self) -> dict[str, Tensor]:
        """Return scalars that tell how far the augmentor has moved, for the log."""
        return {}


class Policy(nn.Module):
    """Strengths in -1..1 for each image: ``tanh(u)``, zero at the start.

    ``u = h(x, ε)`` of a small network whose last layer starts at 0, or ``u = μ + σ ε`` with free
    parameters μ = σ = 0; ε ~ N(0, I) has as many entries as there are strengths.

    Args:
        count: Number of strengths D.
        hidden: Width of the network, which looks at a grey image of at most 16×16 pixels; 0 for
            free parameters.

    Raises:
        ConfigError: ``hidden`` is negative.
    """

    def __init__(self, count: int, hidden: int) -> None:
        super().__init__()
        if type(hidden) is not int or hidden < 0:
            raise ConfigError(f'{KEY}.hidden', f'is a whole number from 0 on, not {hidden!r}')
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
        grey = images.mean(1, keepdim=True)
        size = (min(LOOK, grey.shape[2]), min(LOOK, grey.shape[3]))
        seen = self.look(F.adaptive_avg_pool2d(grey, size))  # (N, hidden)
        return self.last(F.relu(self.hidden(torch.cat([seen, noise], 1)))).tanh()


def check_bound(value: float, name: str, largest: float = float('inf')) -> float:
    """Return a bound.

    Raises:
        ConfigError: It is negative or larger than the largest that makes sense.
    """
    if not 0 <= value <= largest:
        limit = '' if largest == float('inf') else f' and at most {largest}'
        raise ConfigError(f'{KEY}.{name}', f'is at least 0{limit}, not {value}')
    return float(value)
