"""Learned changes of an image's latent vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.mixers.hard.augmentors import KEY, Augmented, Augmentor, Policy, check_bound
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.utils.loading import build_plain, load_config, load_strictly


@MODELS.register_module()
class VAEAugmentor(Augmentor):
    """Move an image's latent vector by a learned residual, ``g(x) = x + D(z + δ) - D(z)``.

    z = E(x) is the latent mean of a pretrained, frozen autoencoder and ``‖δ‖ ≤ radius``,
    ``δ = radius · v · min(1, 1 / ‖v‖)`` with v in (-1, 1)ᴰ.

    Args:
        vae: ``config`` and ``checkpoint`` of a model with ``encode(images) -> (N, D)`` and
            ``decode(latents) -> (N, C, H, W)``, trained on images with the student's
            normalisation and size, such as :class:`~mmkd.mixers.hard.conv_vae.ConvVAE`.
        radius: Largest length of the residual; a latent vector of a trained VAE is about √D long.
            Defaults to 2.0.
        hidden: As in :class:`~mmkd.mixers.hard.ops.AffineAugmentor`. Defaults to 16.

    Raises:
        ConfigError: The autoencoder cannot be loaded, or has no ``encode`` and ``decode``.

    Deviations: the paper decodes ``D(z + δ)`` alone. What a small VAE cannot reproduce would be
    lost with it, and the teacher would see blurred images only; the difference keeps the image
    and makes δ = 0 the identity.
    """

    def __init__(self, vae: Mapping[str, Any], radius: float = 2.0, hidden: int = 16) -> None:
        super().__init__()
        key = f'{KEY}.vae'
        self.radius = check_bound(radius, 'radius')
        if not isinstance(vae, Mapping) or set(vae) != {'config', 'checkpoint'}:
            raise ConfigError(key, f'is dict(config=…, checkpoint=…), not {vae!r}')
        cfg, _ = load_config(vae['config'], key)
        model = build_plain(cfg, key)
        missing = [name for name in ('encode', 'decode', 'latent') if not hasattr(model, name)]
        if missing:
            raise ConfigError(
                f'{key}.config', f'{type(model).__name__} has no {" and no ".join(missing)}'
            )
        load_strictly(model, vae['checkpoint'], key)
        # A plain list: the autoencoder is no part of this module's state or parameters.
        self._vae: list[nn.Module] = [model.requires_grad_(False).eval()]
        self.policy = Policy(model.latent, hidden)

    def residual(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the drawn residuals δ (N, D)."""
        drawn = self.policy(images, generator)
        return self.radius * drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True).clamp(1)

    def forward(self, images: Tensor, generator: torch.Generator) -> Augmented:
        """Change a batch; see the base class."""
        model = self._vae[0].to(images.device)
        with torch.no_grad():
            latents = model.encode(images)
            plain = model.decode(latents)
        changed = model.decode(latents + self.residual(images, generator))
        return Augmented(images + (changed - plain))
