"""OFA against loops, and steps of students of both kinds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from mmcv.cnn.bricks.transformer import PatchMerging
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from support import naive
from support.labels import class_view
from support.views import built, mixed_view, random
from torch import nn
from torch.nn import functional as F

from mmkd.methods import OFA
from mmkd.methods.ofa import ConvBranch, TokenBranch, adaptive_target_loss, initialize
from mmkd.utils import ConfigError


def teachers_of(width: int, classes: int) -> dict:
    """Return a teacher whose classifier, named as the tap, has ``width`` inputs."""
    model = nn.ModuleDict(dict(b=nn.Linear(width, classes)))
    return {'': SimpleNamespace(model=model)}


def made(student: dict, teacher: list, width: int = 6, **arguments) -> OFA:
    method = OFA(dict(logits='a', stages=['c', 'd']), 'b', **arguments)
    return built(method, student, teacher, teachers_of(width, teacher[0].shape[1]))


def naive_loss(logits, probs, labels, eps) -> float:
    total = 0.0
    for row, target, label in zip(logits.tolist(), probs.tolist(), labels):
        own = naive.softmax(row)
        for k, p in enumerate(own):
            right = 1.0 if k == label else 0.0
            total -= ((target[k] + right) ** eps - right) * math.log(p) / len(labels)
    return total


@pytest.mark.parametrize('kind', ['maps', 'tokens'])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('classes', [2, 5])
def test_equals_loops(classes, soft, kind):
    shapes = dict(maps=[(3, 4, 8, 8), (3, 8, 4, 4)], tokens=[(3, 17, 8), (3, 17, 8)])[kind]
    student = dict(
        logits=[random(3, classes).requires_grad_()],
        stages=[random(*s, seed=i + 1).requires_grad_() for i, s in enumerate(shapes)],
    )
    teacher = [random(3, classes, seed=5)]
    method = made(student, teacher, eps=1.5, stage_eps=(1.0, 2.0)).eval()
    # Of a soft label the largest entry is the target.
    labels = torch.tensor([1, 0, classes - 1])
    rows = 0.7 * torch.eye(classes)[labels] + 0.3 / classes
    losses = method.compute(student, teacher, class_view(rows if soft else labels))
    probs = torch.tensor([naive.softmax(row) for row in teacher[0].tolist()]).double()
    outputs = [student['logits'][0]]
    outputs += [branch(x) for branch, x in zip(method.branches, student['stages'])]
    assert list(losses) == ['logits', 'stage1', 'stage2']
    for value, output, eps in zip(losses.values(), outputs, (1.5, 1.0, 2.0)):
        # 1e-6 where a list was read back as fp32.
        expected = naive_loss(output, teacher[0].softmax(1), labels.tolist(), eps)
        assert float(value.detach()) == pytest.approx(expected, rel=1e-9)
        assert naive_loss(output, probs, labels.tolist(), eps) == pytest.approx(expected, rel=1e-6)
    sum(losses.values()).backward()
    assert all(x.grad.any() for x in (*student['logits'], *student['stages']))
    assert all(p.grad is not None for p in method.parameters())


def test_targets_of_mixed_images_are_mixed_and_their_label_is_the_largest():
    view = mixed_view(3)
    student = dict(logits=[random(3, 3)], stages=[random(3, 4, 8, 8), random(3, 8, 4, 4)])
    teacher = [random(3, 3, seed=5)]
    found = made(student, teacher, eps=2.0).compute(student, teacher, view)['logits']
    probs = view.mixture(teacher[0].softmax(1))
    labels = [int(sample.gt_score.argmax()) for sample in view.data_samples]
    expected = naive_loss(student['logits'][0], probs, labels, 2.0)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_branches_fit_the_student_and_the_teacher():
    student = dict(logits=[random(2, 3)], stages=[random(2, 4, 8, 8), random(2, 8, 4, 4)])
    for width in (6, 20):
        method = made(student, [random(2, 3)], width=width)
        assert [type(branch) for branch in method.branches] == [ConvBranch, ConvBranch]
        assert {branch.classify.in_features for branch in method.branches} == {max(width, 8)}
        assert method.branch_eps == [1.0, 1.0]
    student['stages'] = [random(2, 197, 8)] * 3
    method = made(student, [random(2, 3)])
    assert [type(branch) for branch in method.branches] == [TokenBranch] * 3
    assert [len(branch.blocks) for branch in method.branches] == [2, 1, 1]


def test_another_grid_than_that_of_the_probe_is_refused():
    student = dict(logits=[random(2, 3)], stages=[random(2, 65, 8)])
    method = made(student, [random(2, 3)])
    student['stages'] = [random(2, 197, 8)]
    with pytest.raises(ConfigError, match=r'probe_size: .* 65 tokens, got 197'):
        method.compute(student, [random(2, 3)], class_view([0, 1]))


def test_a_teacher_of_other_classes_is_refused():
    student = dict(logits=[random(2, 3)], stages=[random(2, 4, 8, 8)])
    with pytest.raises(ConfigError, match='class channels'):
        made(student, [random(2, 4)])


@pytest.mark.parametrize('eps', [1.0, 1.5, 3.0])
@pytest.mark.parametrize('classes', [2, 6])
def test_adaptive_target_loss(classes, eps):
    logits, teacher = random(4, classes), random(4, classes, seed=1)
    labels = torch.tensor([0, 1, classes - 1, 0])
    expected = 0.0
    for own, other, label in zip(logits.tolist(), teacher.tolist(), labels.tolist()):
        student_probs, teacher_probs = naive.softmax(own), naive.softmax(other)
        for k in range(classes):
            right = 1.0 if k == label else 0.0
            weight = (teacher_probs[k] + right) ** eps - right
            expected -= weight * math.log(student_probs[k]) / 4
    probs = teacher.softmax(1)
    found = adaptive_target_loss(logits, probs, labels, eps)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: adaptive_target_loss(x, probs, labels, eps), logits.requires_grad_()
    )


def test_eps_of_one_is_the_cross_entropy_with_the_teacher_whatever_the_label():
    logits, probs = random(3, 4), random(3, 4, seed=1).softmax(1)
    losses = [adaptive_target_loss(logits, probs, torch.tensor(y)) for y in ([0, 1, 2], [3, 3, 3])]
    torch.testing.assert_close(losses[0], losses[1])
    own = logits.softmax(1)
    entropy = -(own * own.log()).sum(1).mean()
    torch.testing.assert_close(adaptive_target_loss(logits, own, torch.zeros(3).long()), entropy)


def count(branch: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in branch.modules())


@pytest.mark.parametrize('stages', [0, 1, 3])
def test_a_map_is_halved_once_for_every_stage_that_follows(stages):
    branch = ConvBranch(4, 24, stages, 5)
    assert count(branch, nn.Conv2d) == (4 * stages or 1) and count(branch, nn.ReLU) == 2 * stages
    x = torch.randn(2, 4, 16, 12)
    reduced = branch.reduce(x)
    assert reduced.shape == (2, 24, -(-16 // 2**stages), -(-12 // 2**stages))
    assert branch(x).shape == (2, 5)


@pytest.mark.parametrize('stages', [0, 1, 2])
def test_the_convolutions_of_a_branch_one_by_one(stages):
    """Depthwise and pointwise, then BatchNorm and ReLU: twice for every stage that follows."""
    branch = ConvBranch(3, 7, stages, 4).double().apply(initialize)
    names = iter(dict(branch.named_parameters()).items())
    y = x = random(2, 3, 9, 6)
    for channels in [3 * 2**i for i in range(stages)]:
        for stride in (2, 1):
            y = F.conv2d(y, next(names)[1], stride=stride, padding=1, groups=channels)
            y = F.conv2d(y, next(names)[1])
            mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
            weight, bias = next(names)[1], next(names)[1]
            y = (y - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
            y = (y * weight[:, None, None] + bias[:, None, None]).clamp(min=0)
    if not stages:
        y = F.conv2d(y, next(names)[1], next(names)[1])
    expected = y.mean((2, 3)) @ next(names)[1].T + next(names)[1]
    torch.testing.assert_close(branch(x), expected)
    assert next(names, None) is None


@pytest.mark.parametrize('extra', [0, 1])
@pytest.mark.parametrize(('side', 'activated'), [(14, 1), (28, 1), (56, 2)])
def test_the_layers_of_a_token_branch_one_by_one(side, activated, extra):
    """GELU after the first of the mergings and every other one but the last; no bias of q, k, v."""
    branch = TokenBranch(side**2 + extra, 8, 8, 1, 3).double().apply(initialize)
    x = random(2, side**2 + extra, 8)
    classes, patches = x[:, :extra], x[:, extra:]
    for index, merge in enumerate(branch.merge):
        patches, _ = merge(patches, (side, side))
        side //= 2
        if index < activated:
            patches = 0.5 * patches * (1 + torch.erf(patches / math.sqrt(2)))
    assert side == 7 and len(branch.merge) == index + 1
    y = torch.cat([classes, patches], 1)
    own = dict(branch.blocks[0].named_parameters())
    assert 'attn.qkv.bias' not in own
    qkv = F.layer_norm(y, (8,)) @ own['attn.qkv.weight'].T  # norms start as identities
    q, k, v = qkv.reshape(2, -1, 3, 4, 2).permute(2, 0, 3, 1, 4)
    heads = (q @ k.transpose(2, 3) / math.sqrt(2)).softmax(3) @ v
    y = y + heads.transpose(1, 2).reshape(y.shape) @ own['attn.proj.weight'].T
    hidden = F.gelu(F.layer_norm(y, (8,)) @ own['ffn.layers.0.0.weight'].T)
    y = y + hidden @ own['ffn.layers.1.weight'].T
    read = y[:, 0] if extra else y.mean(1)
    torch.testing.assert_close(branch(x), read @ branch.classify.weight.T)


def test_branches_start_as_those_of_the_authors():
    stages = [random(2, 64, 8, 8), random(2, 128, 4, 4)]
    method = made(dict(logits=[random(2, 300)], stages=stages), [random(2, 300)], width=128)
    tokens = dict(logits=[random(2, 300)], stages=[random(2, 197, 64)])
    modules = [*method.modules(), *made(tokens, [random(2, 300)]).modules()]
    for module in modules:
        if isinstance(module, nn.Linear):
            assert float(module.weight.std()) == pytest.approx(0.02, rel=0.05)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.Conv2d):
            fan = module.out_channels * module.kernel_size[0] ** 2
            assert float(module.weight.std()) == pytest.approx(math.sqrt(2 / fan), rel=0.1)


@pytest.mark.parametrize(
    ('side', 'extra', 'merges'), [(14, 1, 1), (14, 0, 1), (7, 1, 0), (4, 0, 0), (28, 2, 2)]
)
def test_tokens_are_merged_to_a_grid_of_seven(side, extra, merges):
    branch = TokenBranch(side**2 + extra, 8, 8, 2, 3)
    assert count(branch, PatchMerging) == merges
    assert count(branch, TransformerEncoderLayer) == 2
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
