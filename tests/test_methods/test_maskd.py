"""MasKD: distillation with frozen tokens."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub
from support import naive
from support.steps import autocast_step
from support.tiny_models import make_student, teacher_config
from support.views import built, mixed_view, plain_view, random
from torch import nn

from mmkd.methods import MasKD
from mmkd.models import MaskLearner, MaskTokens
from mmkd.utils import ConfigError


def tokens_file(folder, channels=(4,), num_tokens=3, token_weights=True, scale=50.0):
    """Write tokens as the mask stage does, large enough for masks that differ."""
    torch.manual_seed(1)
    levels = torch.nn.ModuleList(MaskTokens(c, num_tokens, token_weights) for c in channels)
    for level in levels:
        level.tokens.data.mul_(scale)
    state = {f'mask_tokens.{k}': v for k, v in levels.state_dict().items()}
    path = folder / 'tokens.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    return str(path)


def masks_by_loops(x, tokens):
    """Return masks[m][y][x] of one map (C, H, W)."""
    c, h, w = x.shape
    return [
        [
            [naive.sigmoid(sum(float(t[k] * x[k, y, z]) for k in range(c))) for z in range(w)]
            for y in range(h)
        ]
        for t in tokens
    ]


def by_loops(student, teacher, module, own_masks, eps):
    """Return the loss of one level."""
    n, c, h, w = teacher.shape
    places = [(y, z) for y in range(h) for z in range(w)]
    total = 0.0
    for i in range(n):
        masks = masks_by_loops(teacher[i], module.tokens)
        if own_masks:
            theirs = masks_by_loops(student[i], module.tokens)
            masks = [
                [[a * b for a, b in zip(*rows)] for rows in zip(m, o)]
                for m, o in zip(masks, theirs)
            ]
        weights = module.weights(teacher[i : i + 1])
        for m, mask in enumerate(masks):
            area = sum(mask[y][z] for y, z in places) + eps
            means = [
                sum(
                    mask[y][z] ** 2 * float(teacher[i, k, y, z] - student[i, k, y, z]) ** 2
                    for y, z in places
                )
                / area
                for k in range(c)
            ]
            weight = 1 / len(masks) if weights is None else float(weights[0, m])
            total += weight * sum(means) / c / n
    return total


@pytest.mark.parametrize('token_weights', [False, True])
@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('eps', [0.0, 0.1])
def test_equals_loops(token_weights, mixed, eps, tmp_path):
    student = [random(2, 3, 4, 4), random(2, 4, 1, 1, seed=1)]  # aligned, and one cell
    teacher = [random(2, 4, 4, 4, seed=2), random(2, 4, 1, 1, seed=3)]
    view = mixed_view(2) if mixed else plain_view()
    path = tokens_file(tmp_path, (4, 4), token_weights=token_weights)
    method = built(MasKD('a', 'b', path, custom_mask_warmup=5, eps=eps), student, teacher)
    losses = []
    with torch.no_grad():
        for iteration in (4, 5):  # the last one without and the first one with its own masks
            MessageHub.get_current_instance().update_info('iter', iteration)
            expected = 0.0
            for i in range(2):
                s = method.adapters[i](student[i], teacher[i].shape[-2:])
                t = view.simulate(teacher[i])
                expected += by_loops(s, t, method.mask_tokens[i], iteration == 5, eps)
            loss = method.compute(student, teacher, view)
            assert list(loss) == ['maskd']
            assert float(loss['maskd']) == pytest.approx(expected, rel=1e-6)
            losses.append(float(loss['maskd']))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_no_gradient_through_the_students_masks(tmp_path):
    """The loss is quadratic in the difference while its masks are held."""
    student, teacher = [random(2, 4, 4, 4).requires_grad_()], [random(2, 4, 4, 4, seed=1)]
    method = built(MasKD('a', 'b', tokens_file(tmp_path), custom_mask_warmup=0), student, teacher)
    method.compute(student, teacher, plain_view())['maskd'].backward()
    (masks,) = method.masks(student, teacher, plain_view())
    weights = method.mask_tokens[0].weights(teacher[0])
    factor = masks.square() * (weights / masks.sum((2, 3)))[:, :, None, None]
    expected = 2 * (student[0] - teacher[0]) * factor.sum(1, keepdim=True) / 4 / 2
    torch.testing.assert_close(student[0].grad, expected.detach())


@pytest.mark.parametrize(('adapter', 'count'), [('auto', 0), ('conv', 2)])
def test_the_detectors_adapter(adapter, count, tmp_path):
    maps = [random(2, 4, 4, 4)]
    method = built(MasKD('a', 'b', tokens_file(tmp_path), adapter=adapter), maps, maps)
    assert len(list(method.adapters.parameters())) == count


def test_tokens_are_frozen_and_those_of_the_file(tmp_path):
    path = tokens_file(tmp_path, (4, 4))
    maps = [random(2, 3, 4, 4), random(2, 3, 2, 2)]
    teacher = [random(2, 4, 4, 4), random(2, 4, 2, 2)]
    method = MasKD('a', 'b', path)
    method.build(nn.Module(), maps, teacher, {})
    state = torch.load(path)['state_dict']
    assert len(state) == len(method.mask_tokens.state_dict()) == 2 * 5
    for name, value in method.mask_tokens.state_dict().items():
        assert torch.equal(value, state[f'mask_tokens.{name}'])
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    assert trained == {f'adapters.{i}.project.{n}' for i in (0, 1) for n in ('weight', 'bias')}
    assert [
        m.shape
        for m in method.masks(*([x.float() for x in s] for s in (maps, teacher)), plain_view())
    ] == [
        (2, 3, 4, 4),
        (2, 3, 2, 2),
    ]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(('task', 'tap'), [('det', 'neck'), ('seg', 'decode_head.conv_seg')])
def test_both_stages(task, tap, dtype, tmp_path):
    """What the mask stage saves is what distillation reads, and leaves alone."""
    learner = MaskLearner(teacher=teacher_config(task, tmp_path), tap=tap, num_tokens=2)
    path = tmp_path / 'iter_1.pth'
    torch.save(dict(state_dict=learner.state_dict()), path)
    method = dict(type='mmkd.MasKD', student=tap, teacher=tap, tokens=str(path))
    model = autocast_step(task, {**method, 'custom_mask_warmup': 0}, dtype, tmp_path)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    optimizer.step()
    kept = model.distiller.methods['m'].mask_tokens.state_dict()
    assert kept and all(
        torch.equal(v, learner.mask_tokens.state_dict()[k]) for k, v in kept.items()
    )


@pytest.mark.parametrize('size', [(3, 4), (1, 1)])
def test_token_masks_equal_loops(size):
    x, level = random(2, 3, *size), MaskTokens(3, 4, token_weights=False).double()
    tokens = level.tokens.data = random(4, 3, seed=1)
    masks = level.masks(x)
    assert masks.shape == (2, 4, *size)
    for n in range(2):
        for m in range(4):
            for y in range(size[0]):
                for z in range(size[1]):
                    score = sum(float(tokens[m, k] * x[n, k, y, z]) for k in range(3))
                    assert float(masks[n, m, y, z]) == pytest.approx(naive.sigmoid(score))


@pytest.mark.parametrize('content', ['missing', 'broken', 'student', 'channels', 'levels'])
def test_a_wrong_tokens_file_is_one_clear_error(content, tmp_path):
    path = tmp_path / 'tokens.pth'
    if content == 'broken':
        path.write_bytes(b'no checkpoint')
    elif content == 'student':
        torch.save(dict(state_dict={'backbone.conv1.weight': torch.zeros(1)}), path)
    elif content != 'missing':
        tokens_file(tmp_path, dict(channels=(8,), levels=(4, 4))[content])
    maps = [random(2, 4, 4, 4)]
    with pytest.raises(ConfigError, match=r'tokens: ') as error:
        built(MasKD('a', 'b', str(path)), maps, maps)
    assert str(path) in str(error.value)


def test_the_error_comes_before_training(tmp_path):
    method = dict(type='mmkd.MasKD', student='neck', teacher='neck', tokens='nowhere.pth')
    with pytest.raises(ConfigError, match=r'tokens.*mask stage'):
        make_student('det', teacher=teacher_config('det', tmp_path), methods=dict(m=method))
