"""OFA-KD: distillation between networks of different kinds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.adapters import BatchNorm
from mmkd.methods.base import Method
from mmkd.methods.classification import (
    check_channels,
    check_logits,
    check_names,
    check_tap,
    target_classes,
)
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, at_least
from mmkd.view import View

# Tokens are merged until their grid is no finer than this.
GRID = 7
HEADS = 4


def adaptive_target_loss(
    student_logits: Tensor, teacher_probs: Tensor, labels: Tensor, eps: float = 1.0
) -> Tensor:
    """Cross-entropy with the teacher's probabilities, raised at the target class, at temperature 1.

    ``L = - mean Σ_k [(p_t,k + 1[k=y])^ε - 1[k=y]] log p_s,k``

    Args:
        student_logits: Logits (N, K).
        teacher_probs: Distributions (N, K), without gradient.
        labels: Target classes (N,), int64.
        eps: ε, at least 1. Defaults to 1.0, the cross-entropy with the teacher.

    Returns:
        Scalar, mean over images. It is no divergence: where the student equals the teacher, ε = 1
        leaves the teacher's entropy.
    """
    target = F.one_hot(labels, student_logits.shape[1]).to(teacher_probs)
    return soft_cross_entropy(student_logits, (teacher_probs + target) ** eps - target)


def initialize(module: nn.Module) -> None:
    """Draw the weights of a convolution or a linear layer as the authors do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def halving(channels: int, width: int) -> nn.Sequential:
    """Two separable convolutions, the first of stride 2, from ``channels`` to ``width`` channels.

    Each is a depthwise and a pointwise convolution, then BatchNorm and ReLU.
    """
    layers: list[nn.Module] = []
    for stride, out in ((2, channels), (1, width)):
        layers += [
            nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, out, 1, bias=False),
            BatchNorm(out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class ConvBranch(nn.Module):
    """Class logits from a map.

    Pairs of separable convolutions that halve the map and double its channels, up to the branch's
    width, or a 1×1 convolution if no stage follows; then the mean over the map and a linear layer.

    Args:
        channels: Channels C of the map.
        width: Channels of the last convolution.
        stages: Number of the student's stages that follow, and of pairs.
        num_classes: Number of classes K.
    """

    def __init__(self, channels: int, width: int, stages: int, num_classes: int) -> None:
        super().__init__()
        sizes = [channels * 2**i for i in range(stages)] + [width]
        layers: list[nn.Module] = [halving(a, b) for a, b in itertools.pairwise(sizes)]
        self.reduce = nn.Sequential(*(layers or [nn.Conv2d(channels, width, 1)]))
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of a map (N, C, H, W)."""
        return self.classify(self.reduce(x).mean((2, 3)))


class TokenBranch(nn.Module):
    """Class logits from a sequence of tokens.

    Patches are merged by two to a grid of 7×7 (or the next larger one that halving reaches), with
    GELU after all mergings but the last of several; transformer blocks follow, and a linear layer
    on the class token, or on the mean of the patches if there is none.

    Args:
        length: Tokens of one image: a square grid and up to two class tokens.
        channels: Channels C of a token.
        width: Channels of the blocks.
        blocks: Number of blocks.
        num_classes: Number of classes K.

    Raises:
        ConfigError: The tokens form no square grid, or class tokens have another width.
    """

    def __init__(
        self, length: int, channels: int, width: int, blocks: int, num_classes: int
    ) -> None:
        from mmcv.cnn.bricks.transformer import PatchMerging
        from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer

        super().__init__()
        self.side = math.isqrt(length)
        self.extra = length - self.side**2
        if self.extra > 2 or (self.extra and channels != width):
            raise ConfigError(
                'student.stages',
                f'cannot merge {length} tokens of {channels} channels to {width} channels',
            )
        merges = max(int(math.log2(self.side / GRID)), 0) if self.side else 0
        sizes = [channels] + [width] * merges
        self.merge = nn.ModuleList(PatchMerging(a, b) for a, b in itertools.pairwise(sizes))
        self.project = nn.Identity() if merges or channels == width else nn.Linear(channels, width)
        heads = math.gcd(HEADS, width)
        self.blocks = nn.Sequential(
            *(
                TransformerEncoderLayer(width, heads, 4 * width, qkv_bias=False)
                for _ in range(blocks)
            )
        )
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of tokens (N, L, C)."""
        classes, patches = x[:, : self.extra], x[:, self.extra :]
        size = (self.side, self.side)
        last = len(self.merge) - 1
        for index, merge in enumerate(self.merge):
            patches, size = merge(patches, size)
            if index == 0 or index < last:
                patches = F.gelu(patches)
        patches = self.project(patches)
        x = self.blocks(torch.cat([classes, patches], 1) if self.extra else patches)
        return self.classify(x[:, 0] if self.extra else x.mean(1))


@MODELS.register_module()
class OFA(Method):
    """Train every stage of the student to predict the logits of a teacher of another kind.

    Features of convolutional networks, transformers and MLPs are not comparable; their logits are.
    Each stage of the student gets an exit branch with a classifier. The branches and the student's
    own logits all learn the teacher's logits:

    ``L = L_ofa(z_s, z_t; ε) + Σ_l L_ofa(branch_l(F_s,l), z_t; ε_l)`` with
    :func:`adaptive_target_loss`. For mixed images y is the largest entry of the label.

    The branch of stage l of S is, for maps, S - l pairs of separable convolutions, the first of
    stride 2 (for the last stage a 1×1 convolution), a mean and a linear layer; for tokens a merging
    of patches to a 7×7 grid, max(S - l, 1) transformer blocks of 4 heads, and a linear layer on the
    class token or the mean. Branches are no part of the student.

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
    Knowledge Distillation", NeurIPS 2023, and the authors' code, Hao840/OFAKD@f7bb896.

    Args:
        student: ``dict(logits=…, stages=…)``: taps of the logits (N, K), such as ``head.fc``, and
            of the stages from the first to the last: maps (N, C, H, W), or tokens (N, L, C) with
            their class token. If there are fewer, the first stages are left out.
        teacher: Tap of the logits (N, K).
        eps: ε of the student's own logits, at least 1. Defaults to 1.0.
        stage_eps: ε of every branch, a number or one for each. Defaults to None, ``eps``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the authors' temperature is left out, because all published runs have 1. The width
    of convolutional branches is the larger one of the last stage's and of the input of the
    teacher's classifier, where that is a linear layer. Tokens of other grids and widths than those
    of the authors' networks are padded and projected. Where a mixer runs the teacher on the clean
    images, its probabilities are mixed by area.
    """

    tasks = ('cls',)
    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        eps: float = 1.0,
        stage_eps: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.eps = at_least(1, eps=eps)
        self.stage_eps = stage_eps
        check_names(self.student_taps, 'student', 'logits', 'stages')

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the branches."""
        classes = check_logits(student['logits'], 'student.logits')
        target = check_tap(teacher, 'teacher', 'logits (N, K), such as head.fc', 2)
        check_channels(student['logits'], [target])
        stages = student['stages']
        #: ε of every branch.
        self.branch_eps = self._branch_eps(len(stages))
        self._lengths = [x.shape[1] for x in stages]  # of token sequences
        assert isinstance(self.teacher_taps, tuple)
        tap = self.teacher_taps[0]
        classifier = teachers[tap.model].model.get_submodule(tap.module)
        width = stages[-1].shape[1 if stages[-1].ndim == 4 else -1]
        conv_width = max(width, getattr(classifier, 'in_features', 0))
        self.branches = nn.ModuleList()
        for index, x in enumerate(stages):
            check_tap([x], 'student.stages', 'maps (N, C, H, W) or tokens (N, L, C)', 3, 4)
            follow = len(stages) - 1 - index
            self.branches.append(
                ConvBranch(x.shape[1], conv_width, follow, classes)
                if x.ndim == 4
                else TokenBranch(x.shape[1], x.shape[2], width, max(follow, 1), classes)
            )
        self.branches.apply(initialize)

    def _branch_eps(self, count: int) -> list[float]:
        given = self.eps if self.stage_eps is None else self.stage_eps
        values = list(given) if isinstance(given, Sequence) else [given] * count
        if len(values) != count:
            raise ConfigError(
                'stage_eps', f'must be a number or one for each of the {count} stages, got {given}'
            )
        return [at_least(1, stage_eps=value) for value in values]

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``logits`` and ``stage1`` to ``stageS``."""
        (logits,) = student['logits']
        probs = view.simulate(teacher[0].softmax(1))
        labels = target_classes(view, logits)
        losses = dict(logits=adaptive_target_loss(logits, probs, labels, self.eps))
        parts = zip(self.branches, student['stages'], self._lengths, self.branch_eps)
        for stage, (branch, x, length, eps) in enumerate(parts, 1):
            if x.ndim == 3 and x.shape[1] != length:
                raise ConfigError(
                    'model.distill.probe_size',
                    f'the branches were built for {length} tokens, got {x.shape[1]}; '
                    'set it to the height and width of the training images, here '
                    f'{tuple(view.inputs.shape[-2:])}',
                )
            losses[f'stage{stage}'] = adaptive_target_loss(branch(x), probs, labels, eps)
        return losses
