"""Exit branches: what they are made of, and what they read."""

from __future__ import annotations

import pytest
import torch
from mmcv.cnn import DepthwiseSeparableConvModule
from mmcv.cnn.bricks.transformer import PatchMerging
from torch import nn

from mmkd.models.branches import ConvBranch, TokenBranch


def count(branch: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in branch.modules())


@pytest.mark.parametrize('stages', [0, 1, 3])
def test_a_map_is_halved_once_for_every_stage_that_follows(stages):
    branch = ConvBranch(4, 24, stages, 5)
    assert count(branch, DepthwiseSeparableConvModule) == stages
    x = torch.randn(2, 4, 16, 12)
    reduced = branch.reduce(x)
    assert reduced.shape == (2, 24, -(-16 // 2**stages), -(-12 // 2**stages))
    assert branch(x).shape == (2, 5)


@pytest.mark.parametrize(
    ('side', 'extra', 'merges'), [(14, 1, 1), (14, 0, 1), (7, 1, 0), (4, 0, 0), (28, 2, 2)]
)
def test_tokens_are_merged_to_a_grid_of_seven(side, extra, merges):
    branch = TokenBranch(side**2 + extra, 8, 8, 2, 3)
    assert count(branch, PatchMerging) == merges
    assert count(branch, nn.TransformerEncoderLayer) == 2
    lengths = []
    branch.blocks.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    assert branch(torch.randn(2, side**2 + extra, 8)).shape == (2, 3)
    assert lengths == [(side // 2**merges) ** 2 + extra]


@pytest.mark.parametrize('extra', [0, 1])
def test_the_class_token_or_the_mean_is_classified(extra):
    branch = TokenBranch(9 + extra, 8, 8, 1, 3)
    branch.blocks = nn.Sequential()
    x = torch.randn(2, 9 + extra, 8)
    read = x[:, 0] if extra else x.mean(1)
    torch.testing.assert_close(branch(x), branch.classify(read))


def test_stages_of_another_width():
    """As in a Swin, whose early stages are narrow; a class token could not follow."""
    assert TokenBranch(16, 4, 8, 1, 3)(torch.randn(2, 16, 4)).shape == (2, 3)
    assert TokenBranch(196, 4, 8, 1, 3)(torch.randn(2, 196, 4)).shape == (2, 3)
    with pytest.raises(ValueError, match='17 tokens'):
        TokenBranch(17, 4, 8, 1, 3)
    with pytest.raises(ValueError, match='15 tokens'):
        TokenBranch(15, 8, 8, 1, 3)
