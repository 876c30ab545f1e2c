"""Differentiable affine transforms of images, and choices that carry gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def affine_matrix(shift: Tensor, angle: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the matrices that enlarge, turn and shift the content of images.

    ``p_out = scale · R(angle) p_in + shift`` about the centre of the image, in pixels; the matrix
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


def gumbel_choice(logits: Tensor, uniform: Tensor, tau: float = 1.0) -> Tensor:
    """Choose one of M for each row by Gumbel-softmax, straight through.

    ``c = onehot(argmax_m (π_m + g_m))`` with ``g = -log(-log u)``; backward it is
    ``softmax((π + g) / τ)``. Row m is chosen with probability ``softmax(π)_m``.

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017, eq. 1-2.

    Args:
        logits: π (M,).
        uniform: Draws u (N, M) from [0, 1).
        tau: Temperature. Defaults to 1.0.

    Returns:
        One-hot rows (N, M), exactly 0 and 1.
    """
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -(-uniform.clamp(min=tiny).log()).log()
    scores = logits + gumbel
    soft = (scores / tau).softmax(1)
    hard = F.one_hot(scores.argmax(1), scores.shape[1]).to(soft)
    return hard + (soft - soft.detach())
