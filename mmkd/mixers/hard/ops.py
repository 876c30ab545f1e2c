"""Single learned augmentations: affine, colour, noise, blend."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmkd.functional.warp import affine_matrix, affine_warp
from mmkd.mixers.draws import partners
from mmkd.mixers.hard.augmentors import KEY, Augmented, Augmentor, Policy, check_bound
from mmkd.registry import MODELS
from mmkd.utils import ConfigError

PADDINGS = ('border', 'reflection', 'zeros')


@MODELS.register_module()
class AffineAugmentor(Augmentor):
    """Shift, turn and scale every image by learned amounts, ``A = I + tanh(·) · range``.

    Args:
        shift: Largest shift in shares of width and height. Defaults to 0.3.
        rotation: Largest angle in degrees. Defaults to 30.
        scale: Largest change of the scale: 0.3 is 0.7 to 1.3. Defaults to 0.3.
        hidden: Width of the network that looks at the image; 0 for free parameters, the same
            distribution for every image. Defaults to 16.
        padding: What lies outside an image: ``'border'``, ``'reflection'`` or ``'zeros'``, the
            mean colour. Defaults to ``'border'``.

    Raises:
        ConfigError: A range is negative or too large, or the padding is unknown.

    Deviations: the paper's ranges are not known to us; the defaults are ours. One scale for both
    axes, no shear.
    """

    moves = True

    def __init__(
        self,
        shift: float = 0.3,
        rotation: float = 30.0,
        scale: float = 0.3,
        hidden: int = 16,
        padding: str = 'border',
    ) -> None:
        super().__init__()
        self.shift = check_bound(shift, 'shift', 1.0)
        self.rotation = math.radians(check_bound(rotation, 'rotation', 180.0))
        self.scale = check_bound(scale, 'scale', 0.95)
        if padding not in PADDINGS:
            raise ConfigError(f'{KEY}.padding', f'use one of {", ".join(PADDINGS)}')
        self.padding = padding
        self.policy = Policy(4, hidden)

    def matrices(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the drawn matrices (N, 2, 3)."""
        drawn = self.policy(images, generator)  # (N, 4)
        size = (images.shape[-2], images.shape[-1])
        shift, angle = self.shift * drawn[:, :2], self.rotation * drawn[:, 2]
        return affine_matrix(shift, angle, 1 + self.scale * drawn[:, 3], size)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Transform a batch; see the base class."""
        matrices = self.matrices(images, generator)
        return Augmented(affine_warp(images, matrices, self.padding), matrices)


@MODELS.register_module()
class ColourAugmentor(Augmentor):
    """Change brightness and contrast, ``x̃ = x + c (x - mean(x)) + b``.

    Args:
        brightness: Largest ``|b|``, in standard deviations of the data. Defaults to 0.5.
        contrast: Largest ``|c|``. Defaults to 0.5.
        hidden: As in :class:`AffineAugmentor`. Defaults to 16.
    """

    def __init__(self, brightness: float = 0.5, contrast: float = 0.5, hidden: int = 16) -> None:
        super().__init__()
        self.brightness = check_bound(brightness, 'brightness')
        self.contrast = check_bound(contrast, 'contrast', 1.0)
        self.policy = Policy(2, hidden)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Change the colours of a batch; see the base class."""
        drawn = self.policy(images, generator)[:, :, None, None, None]  # (N, 2, 1, 1, 1)
        centred = images - images.mean((1, 2, 3), keepdim=True)
        changed = self.contrast * drawn[:, 0] * centred + self.brightness * drawn[:, 1]
        return Augmented(images + changed)


@MODELS.register_module()
class NoiseAugmentor(Augmentor):
    """Add Gaussian noise, ``x̃ = x + s n``.

    Args:
        std: Largest ``|s|``, in standard deviations of the data. Defaults to 0.3.
        hidden: As in :class:`AffineAugmentor`. Defaults to 16.
    """

    def __init__(self, std: float = 0.3, hidden: int = 16) -> None:
        super().__init__()
        self.std = check_bound(std, 'std')
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
        hidden: As in :class:`AffineAugmentor`. Defaults to 16.

    Deviations: strengths below 0 mean λ = 0.
    """

    mixes = True

    def __init__(self, share: float = 0.5, hidden: int = 16) -> None:
        super().__init__()
        self.share = check_bound(share, 'share', 0.5)
        self.policy = Policy(1, hidden)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Mix a batch with itself; see the base class."""
        # clamp passes the gradient on at 0 itself, where the augmentor starts.
        share = self.share * self.policy(images, generator)[:, 0].clamp(min=0)  # (N,)
        partner = partners(len(images), 2, generator)[:, 1].to(images.device)
        mixed = images + share[:, None, None, None] * (images[partner] - images)
        return Augmented(mixed, partner=partner, share=share)
