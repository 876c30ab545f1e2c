"""Teachers that cut images into patches, on images that are no multiple of a patch."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def fit_patches(model: nn.Module) -> nn.Module:
    """Let a model resize what it cuts into patches, where the patches do not fill the image.

    OpenMMLab's ``PatchEmbed`` pads the right and lower edge instead: of 128 pixels a ViT with
    patches of 14 makes 10 × 10 cells that span 140. Its maps then do not cover the student's image,
    and every comparison is shifted. After bilinear resizing to the nearest multiple, here 126, the
    9 × 9 cells span the image, as all other maps do.

    Args:
        model: The model; its patch embeddings get a hook, in place.

    Returns:
        The model.
    """
    for name, module in model.named_modules():
        conv = getattr(module, 'projection', None)
        # Overlapping patches, such as SegFormer's, do not fill images anyway.
        if name.endswith('patch_embed') and is_cut(conv):
            module.register_forward_pre_hook(resize_input)
    return model


def is_cut(conv: Any) -> bool:
    """Whether a module is a convolution whose windows lie side by side."""
    return isinstance(conv, nn.Conv2d) and conv.kernel_size == conv.stride


def resize_input(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """Forward pre-hook: resize images (N, C, H, W) to the nearest multiple of the patch."""
    patch = module.projection.kernel_size
    size = [max(round(side / p), 1) * p for side, p in zip(args[0].shape[2:], patch)]
    if size == list(args[0].shape[2:]):
        return None
    return F.interpolate(args[0], size, mode='bilinear', align_corners=False), *args[1:]
