"""Learned changes of an image's latent vector, and a small autoencoder for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.mixers.hard.augmentors import Augmented, Augmentor, Policy
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, non_negative
from mmkd.utils.loading import build_plain, load_config, load_strictly


@MODELS.register_module()
class ConvVAE(BaseModel):
    """Variational autoencoder of images: a plain model of a plain config, trained by the Runner.

    Its loss is the negative evidence bound with unit variance, ``½ ‖x - D(z)‖² + β KL(q(z|x) ||
    N(0, I))`` summed over pixels and latents, mean over images, divided by the number of pixels.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, eq. 10; β as in
    Higgins et al., "beta-VAE", ICLR 2017.

    Args:
        size: Height and width of the images, multiples of 4.
        channels: Channels of the images. Defaults to 3.
        latent: Length D of the latent vector. Defaults to 32.
        width: Channels of the first layer. Defaults to 32.
        beta: β. Defaults to 1.0.
        data_preprocessor: Must normalize as the augmented student does.

    Raises:
        ConfigError: The size is no multiple of 4.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: int = 3,
        latent: int = 32,
        width: int = 32,
        beta: float = 1.0,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        if size[0] % 4 or size[1] % 4:
            raise ConfigError('model.size', f'must be multiples of 4, got {tuple(size)}')
        self.size = (size[0], size[1])
        self.latent = latent
        self.beta = beta
        small = (2 * width, size[0] // 4, size[1] // 4)
        cells = small[0] * small[1] * small[2]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(cells, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, cells),
            nn.Unflatten(1, small),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the latent means (N, D).

        Raises:
            ConfigError: The images have another size.
        """
        if images.shape[-2:] != self.size:
            other = tuple(images.shape[-2:])
            raise ConfigError(
                'vae', f'this autoencoder takes images of {self.size} pixels, not {other}'
            )
        return self.encoder(images).chunk(2, dim=1)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of latents (N, D)."""
        return self.decoder(latents)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Return the losses, or the reconstructed images.

        Args:
            inputs: Batch (N, C, H, W).
            data_samples: Not used.
            mode: ``'loss'``; anything else reconstructs.
        """
        mean, log_variance = self.encoder(inputs).chunk(2, dim=1)
        if mode != 'loss':
            return self.decode(mean)
        latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        squared = F.mse_loss(self.decode(latents), inputs)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        pixels = inputs[0].numel()
        return dict(loss_reconstruction=squared / 2, loss_kl=self.beta * divergence / 2 / pixels)


@MODELS.register_module()
class VAEAugmentor(Augmentor):
    """Move an image's latent vector by a learned residual, ``g(x) = x + D(z + δ) - D(z)``.

    z = E(x) is the latent mean of a pretrained, frozen autoencoder and ``‖δ‖ ≤ radius``,
    ``δ = radius · v · min(1, 1 / ‖v‖)`` with v in (-1, 1)ᴰ.

    Args:
        vae: ``config`` and ``checkpoint`` of a model with ``encode(images) -> (N, D)`` and
            ``decode(latents) -> (N, C, H, W)``, trained on images with the student's
            normalization and size, such as :class:`ConvVAE`.
        radius: Largest length of the residual; a latent vector of a trained VAE is about √D long.
            Defaults to 2.0.
        hidden: See :class:`~mmkd.mixers.hard.augmentors.Policy`. Defaults to 16.

    Raises:
        ConfigError: The autoencoder cannot be loaded, or has no ``encode`` and ``decode``.

    Deviations: the paper decodes ``D(z + δ)`` alone. What a small VAE cannot reproduce would be
    lost with it, and the teacher would get blurred images only; the difference keeps the image
    and makes δ = 0 the identity.
    """

    def __init__(self, vae: Mapping[str, Any], radius: float = 2.0, hidden: int = 16) -> None:
        super().__init__()
        self.radius = non_negative(radius=radius)
        if not isinstance(vae, Mapping) or set(vae) != {'config', 'checkpoint'}:
            raise ConfigError('vae', f'must be dict(config=…, checkpoint=…), got {vae!r}')
        cfg, _ = load_config(vae['config'], 'vae')
        model = build_plain(cfg, 'vae')
        missing = [name for name in ('encode', 'decode', 'latent') if not hasattr(model, name)]
        if missing:
            raise ConfigError(
                'vae.config', f'{type(model).__name__} has no {" and no ".join(missing)}'
            )
        load_strictly(model, vae['checkpoint'], 'vae')
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
