"""ResNets for images of 32 × 32 pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.models.backbones.cifar import CIFARBackbone, conv1x1, conv3x3
from mmkd.registry import MODELS
from mmkd.utils import one_of

DEPTHS = (8, 14, 20, 32, 44, 56, 110)
# Depth and channels of the stem and the three stages.
ARCHS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    **{str(depth): (depth, (16, 16, 32, 64)) for depth in DEPTHS},
    **{f'{depth}x4': (depth, (32, 64, 128, 256)) for depth in (8, 32)},
}


@MODELS.register_module()
class CIFARResNet(CIFARBackbone):
    """ResNet with three stages of basic blocks, in the form of the distillation literature.

    A 3 × 3 convolution with batch normalization and ReLU is the stem. Each of the three stages has
    (depth - 2) / 6 blocks; the second and the third halve the resolution. A 1 × 1 convolution with
    batch normalization is the shortcut where the shape changes. Variants ``x4`` have four times as
    many channels in their stages and twice as many in the stem.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2;
    ``mdistiller/models/cifar/resnet.py`` in megvii-research/mdistiller@e8c5bb3.

    Deviations:
        From the paper: shortcuts are 1 × 1 convolutions instead of padded identities. From the
        code: none; the average pooling and the linear layer are mmpretrain's neck and head.

    Every activation is a module of its own and none works in place. For maps before the last ReLU
    of a stage, tap the input of that module: ``dict(module='backbone.layer3.2.relu2',
    source='input')``.

    Args:
        depth: ``'8'``, ``'14'``, ``'20'``, ``'32'``, ``'44'``, ``'56'``, ``'110'``, ``'8x4'`` or
            ``'32x4'``; a number works, too.
        in_channels: Channels of the images. Defaults to 3.
        **kwargs: ``out_indices`` and ``init_cfg`` of
            :class:`~mmkd.models.backbones.cifar.CIFARBackbone`.

    Raises:
        ConfigError: The depth or a stage does not exist.
    """

    def __init__(self, depth: int | str, in_channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        layers, (stem, *widths) = ARCHS[one_of(tuple(ARCHS), depth=str(depth))]
        self.conv1 = conv3x3(in_channels, stem)
        self.norm1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        before = stem
        for number, width in enumerate(widths, 1):
            first = BasicBlock(before, width, stride=1 if number == 1 else 2)
            rest = [BasicBlock(width, width) for _ in range((layers - 2) // 6 - 1)]
            self.add_module(f'layer{number}', nn.Sequential(first, *rest))
            before = width

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of the chosen stages, behind their ReLU.

        Args:
            x: Images (N, C, H, W).

        Returns:
            Maps (N, 16, H, W), (N, 32, H / 2, W / 2) and (N, 64, H / 4, W / 4), or with four times
            as many channels.
        """
        x = self.relu(self.norm1(self.conv1(x)))
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            stages.append(x)
        return tuple(stages[index] for index in self.out_indices)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            shortcut = conv1x1(in_channels, channels, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to a map of the block's channels and stride."""
        identity = x if self.downsample is None else self.downsample(x)
        x = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(x + identity)
