"""What the CIFAR backbones share: initialization and the choice of outputs."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import nn

from mmkd.utils import ConfigError

NUM_STAGES = 3
INIT = (
    dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu'),
    dict(type='Constant', layer='BatchNorm2d', val=1.0),
)


class CIFARBackbone(BaseModule):
    """A stem and three stages at strides 1, 2 and 4, ``layer1`` to ``layer3``.

    Args:
        out_indices: Stages whose maps are returned, from 0. Defaults to the last.
        init_cfg: As in mmengine. Defaults to Kaiming's normal initialization (fan-out) of
            convolutions, and 1 and 0 for batch normalization.

    Raises:
        ConfigError: ``out_indices`` is empty, or not in ascending order within 0 to 2.
    """

    def __init__(
        self, out_indices: Sequence[int] = (2,), init_cfg: dict | Sequence[dict] | None = INIT
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        self.out_indices = tuple(out_indices)
        allowed = [index for index in range(NUM_STAGES) if index in self.out_indices]
        if not allowed or tuple(allowed) != self.out_indices:
            raise ConfigError('out_indices', f'must be some of 0, 1, 2 in order, got {out_indices}')


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 × 3 convolution without a bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1 × 1 convolution without a bias, for shortcuts."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
