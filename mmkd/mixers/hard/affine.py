"""Learned affine augmentation of images and label maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmkd.mixers.hard.augmentors import Augmented, Augmentor, Policy
from mmkd.registry import MODELS
from mmkd.utils import between, one_of

PADDINGS = ('border', 'reflection', 'zeros')
IGNORE = 255


def affine_matrix(shift: Tensor, angle: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the matrices that enlarge, turn and shift the content of images.

    ``p_out = scale · R(angle) p_in + shift`` about the center of the image, in pixels; the matrix
    is the inverse map in the coordinates of ``affine_grid`` (-1 to 1 over each side), so that
    angles stay angles in images that are not square.

    Args:
        shift: (N, 2) to the right and down, in shares of width and height.
        angle: (N,) in radians, positive is clockwise on the screen.
        scale: (N,), above 0.
        size: Height and width of the images.

    Returns:
        Matrices (N, 2, 3); exactly ``[[1, 0, 0], [0, 1, 0]]`` for no change.
    """
    height, width = size
    cos, sin = angle.cos() / scale, angle.sin() / scale
    linear = torch.stack(
        [cos, sin * (height / width), -sin * (width / height), cos], dim=1
    ).reshape(-1, 2, 2)
    return torch.cat([linear, linear @ (-2 * shift)[:, :, None]], dim=2)


def affine_warp(images: Tensor, matrices: Tensor, padding: str = 'border') -> Tensor:
    """Sample images at affinely transformed places, bilinearly.

    Where a matrix is the identity the image comes back exactly, bit for bit, and the gradient of
    the matrix is that of the sampling all the same.

    Args:
        images: (N, C, H, W).
        matrices: (N, 2, 3) as of :func:`affine_matrix`.
        padding: What lies outside: ``'border'``, ``'reflection'`` or ``'zeros'``. Defaults to
            ``'border'``.

    Returns:
        Images of the same shape.
    """
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, padding_mode=padding, align_corners=False)
    unchanged = (matrices == torch.eye(2, 3).to(matrices)).flatten(1).all(1)
    # Sampling rounds; the value is put right and the gradient kept.
    exact = images.detach() + (warped - warped.detach())
    return torch.where(unchanged[:, None, None, None], exact, warped)


def move_map(labels: Tensor, matrix: Tensor) -> Tensor:
    """Sample a label map (1, H, W) as :func:`affine_warp` samples its image.

    Args:
        labels: Integer classes.
        matrix: (2, 3).

    Returns:
        Map of the same shape and type, 255 outside.
    """
    maps = torch.stack([labels.float(), torch.ones_like(labels, dtype=torch.float)], 1)
    grid = F.affine_grid(matrix[None].float(), list(maps.shape), align_corners=False)
    value, inside = F.grid_sample(maps, grid, mode='nearest', align_corners=False)[0]
    return torch.where(inside > 0.5, value.to(labels), IGNORE)[None].to(labels)


@MODELS.register_module()
class AffineAugmentor(Augmentor):
    """Shift, turn and scale every image by learned amounts, ``A = I + tanh(·) · range``.

    Args:
        shift: Largest shift in shares of width and height. Defaults to 0.3.
        rotation: Largest angle in degrees. Defaults to 30.
        scale: Largest change of the scale: 0.3 is 0.7 to 1.3. Defaults to 0.3.
        hidden: Width of the network that reads the image; 0 for free parameters, the same
            distribution for every image. Defaults to 16.
        padding: What lies outside an image: ``'border'``, ``'reflection'`` or ``'zeros'``, the
            mean color. Defaults to ``'border'``.

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
        self.shift = between(0, 1, shift=shift)
        self.rotation = math.radians(between(0, 180, rotation=rotation))
        self.scale = between(0, 0.95, scale=scale)
        self.padding = one_of(PADDINGS, padding=padding)
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
