"""A small convolutional autoencoder for small images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.registry import MODELS
from mmkd.utils import ConfigError


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
        data_preprocessor: Has to normalise as the student's that is augmented.

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
            raise ConfigError('model.size', f'multiples of 4, not {tuple(size)}')
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
