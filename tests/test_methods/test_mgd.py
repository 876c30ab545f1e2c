"""MGD against loops; its masks, and that nobody else's random numbers move."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub
from support.tiny_models import make_student, preprocessed, teacher_config
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import MGD


def convolve(x, conv):
    """Return a 3×3 convolution of a map (C, H, W) with zero padding, cell by cell."""
    h, w = x.shape[1:]
    out = torch.zeros(conv.out_channels, h, w, dtype=x.dtype)
    for y in range(h):
        for z in range(w):
            total = conv.bias.detach().clone()
            for dy in (-1, 0, 1):
                for dz in (-1, 0, 1):
                    if 0 <= y + dy < h and 0 <= z + dz < w:
                        weight = conv.weight.detach()[:, :, dy + 1, dz + 1]
                        total += weight @ x[:, y + dy, z + dz]
            out[:, y, z] = total
    return out


def by_loops(student, teacher, mask, generate):
    total = 0.0
    for s, t, m in zip(student, teacher, mask):
        made = convolve(convolve(s * m, generate[0]).clamp(min=0), generate[2])
        total += sum((float(a) - float(b)) ** 2 for a, b in zip(made.flatten(), t.flatten()))
    return total / len(student)


@pytest.mark.parametrize('mask', ['spatial', 'channel'])
@pytest.mark.parametrize('mixed', [False, True])
def test_equals_loops(mask, mixed):
    student = [random(2, 2, 4, 4), random(2, 3, 1, 1, seed=1)]  # aligned, and one cell
    teacher = [random(2, 3, 4, 4, seed=2), random(2, 3, 1, 1, seed=3)]
    view = mixed_view(2) if mixed else plain_view()
    method = built(MGD('a', 'b', mask=mask, mask_ratio=0.5), student, teacher)
    kept = method.draw(teacher)
    expected = 0.0
    for i in range(2):
        aligned = method.adapters[i](student[i], teacher[i].shape[-2:]).detach()
        target = view.simulate(teacher[i])
        expected += by_loops(aligned, target, kept[i], method.generators[i])
    loss = method.compute(student, teacher, view)
    assert list(loss) == ['mgd']
    assert float(loss['mgd'].detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ('mask', 'shape'), [('spatial', (8, 1, 16, 16)), ('channel', (8, 64, 1, 1))]
)
def test_masks_hide_the_given_share(mask, shape):
    maps = [random(8, 64, 16, 16)]
    method = MGD('a', 'b', mask=mask, mask_ratio=0.75)
    (kept,) = method.draw(maps)
    assert kept.shape == shape and set(kept.unique().tolist()) == {0, 1}
    assert float(kept.mean()) == pytest.approx(0.25, abs=0.05)
    assert len(method.masks(maps, maps, plain_view(8))) == (mask == 'spatial')


def test_masks_depend_on_iteration_and_key_alone():
    maps = [random(2, 3, 8, 8), random(2, 3, 8, 8)]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    methods = [MGD('a', 'b'), MGD('a', 'b')]
    for name, method in zip('mn', methods):
        method.key = f'methods.{name}'
    first, other = (method.draw(maps) for method in methods)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first[0], first[1])  # levels
    assert not torch.equal(first[0], other[0])  # methods
    torch.rand(5)
    assert torch.equal(methods[0].draw(maps)[0], first[0])  # the same step again
    MessageHub.get_current_instance().update_info('iter', 1)
    assert not torch.equal(methods[0].draw(maps)[0], first[0])


def test_the_student_is_that_of_a_run_without_distillation(tmp_path):
    """A segmenter, whose dropout draws in every step: losses and next draw stay the same."""
    method = dict(type='mmkd.MGD', student='backbone', teacher='backbone', levels=(3,))
    states, losses = [], []
    for distill in ({}, dict(teacher=teacher_config('seg', tmp_path), methods=dict(m=method))):
        model = make_student('seg', **distill)
        inputs, samples = preprocessed(model, 'seg')
        step = model(inputs, samples, mode='loss')
        losses.append(step['decode.loss_ce'])
        states.append(torch.get_rng_state())
    assert 'distill.m.loss_mgd' in step
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(states[0], states[1])
