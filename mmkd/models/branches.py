"""Exit branches: class logits from what a stage of a student computes."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

# Tokens are merged until their grid is no finer than this.
GRID = 7
HEADS = 4


class ConvBranch(nn.Module):
    """Class logits from a map.

    Separable convolutions of stride 2, whose channels double up to the branch's width; a 1×1
    convolution where there are none. Then the mean over the map and a linear layer.

    Args:
        channels: Channels C of the map.
        width: Channels of the last convolution.
        stages: How many stages of the student follow: the number of convolutions.
        num_classes: Number of classes K.
    """

    def __init__(self, channels: int, width: int, stages: int, num_classes: int) -> None:
        from mmcv.cnn import DepthwiseSeparableConvModule

        super().__init__()
        sizes = [channels * 2**i for i in range(stages)] + [width]
        layers: list[nn.Module] = [
            DepthwiseSeparableConvModule(
                before, after, 3, stride=2, padding=1, norm_cfg=dict(type='BN')
            )
            for before, after in itertools.pairwise(sizes)
        ]
        self.reduce = nn.Sequential(*(layers or [nn.Conv2d(channels, width, 1)]))
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of a map (N, C, H, W)."""
        return self.classify(self.reduce(x).mean((2, 3)))


class TokenBranch(nn.Module):
    """Class logits from a sequence of tokens.

    Patches are merged by two to a grid of 7×7 (or the next larger that halving leads to), then
    transformer blocks follow, and a linear layer on the class token, or on the mean of the patches
    where there is none.

    Args:
        length: Tokens of one image: a square grid and up to two class tokens.
        channels: Channels C of a token.
        width: Channels of the blocks.
        blocks: Number of blocks.
        num_classes: Number of classes K.

    Raises:
        ValueError: The tokens form no square grid, or class tokens have another width.
    """

    def __init__(
        self, length: int, channels: int, width: int, blocks: int, num_classes: int
    ) -> None:
        from mmcv.cnn.bricks.transformer import PatchMerging

        super().__init__()
        self.side = math.isqrt(length)
        self.extra = length - self.side**2
        if self.extra > 2 or (self.extra and channels != width):
            raise ValueError(f'cannot merge {length} tokens of {channels} channels to {width}')
        merges = max(int(math.log2(self.side / GRID)), 0) if self.side else 0
        sizes = [channels] + [width] * merges
        self.merge = nn.ModuleList(PatchMerging(a, b) for a, b in itertools.pairwise(sizes))
        self.project = nn.Identity() if merges or channels == width else nn.Linear(channels, width)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width,
                    math.gcd(HEADS, width),
                    dim_feedforward=4 * width,
                    dropout=0.0,
                    activation='gelu',
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(blocks)
            )
        )
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of tokens (N, L, C)."""
        classes, patches = x[:, : self.extra], x[:, self.extra :]
        size = (self.side, self.side)
        for merge in self.merge:
            patches, size = merge(patches, size)
        patches = self.project(patches)
        x = self.blocks(torch.cat([classes, patches], 1) if self.extra else patches)
        return self.classify(x[:, 0] if self.extra else x.mean(1))
