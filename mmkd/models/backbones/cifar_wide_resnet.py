"""Wide ResNets for images of 32 × 32 pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.models.backbones.cifar import CIFARBackbone, conv1x1, conv3x3
from mmkd.registry import MODELS
from mmkd.utils import one_of

ARCHS = {'16-2': (16, 2), '40-1': (40, 1), '40-2': (40, 2)}  # depth and widening


@MODELS.register_module()
class CIFARWideResNet(CIFARBackbone):
    """Wide ResNet with pre-activation blocks, in the form of the distillation literature.

    A 3 × 3 convolution with 16 channels is the stem. Each of the three stages has (depth - 4) / 6
    blocks; the second and the third halve the resolution. Batch normalization and ReLU follow the
    last stage.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, section 2;
    ``mdistiller/models/cifar/wrn.py`` in megvii-research/mdistiller@e8c5bb3.

    Deviations:
        From the paper: no dropout, as in the distillation literature. From the code: the linear
        layer's bias, which mmpretrain's head initializes, does not start at 0.

    Every activation is a module of its own and none works in place, so the maps before it can be
    tapped: ``'backbone.layer3'`` is the sum in front of the last normalization and
    ``'backbone.norm1'`` the normalized map in front of the last ReLU.

    Args:
        depth: Depth and widening, ``'16-2'``, ``'40-1'`` or ``'40-2'``.
        in_channels: Channels of the images. Defaults to 3.
        **kwargs: ``out_indices`` and ``init_cfg`` of
            :class:`~mmkd.models.backbones.cifar.CIFARBackbone`.

    Raises:
        ConfigError: The depth or a stage does not exist.
    """

    def __init__(self, depth: str, in_channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        layers, widening = ARCHS[one_of(tuple(ARCHS), depth=depth)]
        before = 16
        self.conv1 = conv3x3(in_channels, before)
        for number in (1, 2, 3):
            width = 16 * widening * 2 ** (number - 1)
            first = PreActBlock(before, width, stride=1 if number == 1 else 2)
            rest = [PreActBlock(width, width) for _ in range((layers - 4) // 6 - 1)]
            self.add_module(f'layer{number}', nn.Sequential(first, *rest))
            before = width
        self.norm1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the chosen stages.

        Args:
            x: Images (N, C, H, W).

        Returns:
            Maps (N, 16 k, H, W), (N, 32 k, H / 2, W / 2) and (N, 64 k, H / 4, W / 4) at widening k.
            The third is behind the last normalization and ReLU, the others are sums of a block.
        """
        x = self.conv1(x)
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            stages.append(x)
        stages[2] = self.relu(self.norm1(x))
        return tuple(stages[index] for index in self.out_indices)


class PreActBlock(nn.Module):
    """Normalization, ReLU and convolution, twice, beside a shortcut.

    Where the shape changes, the shortcut starts behind the first ReLU.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.shortcut: nn.Module | None = None
        if in_channels != channels:
            self.shortcut = conv1x1(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to a map of the block's channels and stride."""
        y = self.relu1(self.norm1(x))
        identity = x if self.shortcut is None else self.shortcut(y)
        return identity + self.conv2(self.relu2(self.norm2(self.conv1(y))))
