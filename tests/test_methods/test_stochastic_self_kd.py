"""StochasticSelfKD against loops over images and passes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from support.passes import Passes
from support.tiny_models import make_student, model_config, preprocessed, teacher_config
from support.views import mixed_view, plain_view, random
from torch import nn

from mmkd.methods import StochasticSelfKD
from mmkd.methods.stochastic_self_kd import student_guided_target
from mmkd.utils import ConfigError

TAP = dict(module='head.fc', source='input')


def naive_target(student, passes, scale, percentile) -> list[list[float]]:
    result = []
    for n in range(len(student)):
        products = [sum(a * b for a, b in zip(student[n], p[n])) / scale for p in passes]
        exponents = [math.exp(x - max(products)) for x in products]
        attention = [e / sum(exponents) for e in exponents]
        place = percentile / 100 * (len(passes) - 1)
        low, ordered = int(place), sorted(attention)
        high = min(low + 1, len(passes) - 1)
        threshold = ordered[low] + (place - low) * (ordered[high] - ordered[low])
        kept = [a if a >= threshold - 1e-15 else 0.0 for a in attention]
        row = [
            sum(a * p[n][c] for a, p in zip(kept, passes)) / sum(kept)
            for c in range(len(student[n]))
        ]
        result.append(row)
    return result


@pytest.mark.parametrize('percentile', [0.0, 50.0, 90.0, 100.0])
@pytest.mark.parametrize('passes', [2, 10])
def test_the_target_equals_loops(passes, percentile):
    student, teachers = random(3, 4), random(passes, 3, 4, seed=1)
    found = student_guided_target(student, teachers, 5.0, percentile)
    expected = naive_target(student.tolist(), teachers.tolist(), 5.0, percentile)
    torch.testing.assert_close(found, torch.tensor(expected).double())


def made(teacher, student, **arguments):
    method = StochasticSelfKD('a', 'b', **arguments)
    method.build(nn.Module(), [student], [student], {'': teacher})
    return method


@pytest.mark.parametrize('detach', [False, True])
@pytest.mark.parametrize('mixed', [False, True])
def test_the_loss_equals_loops(mixed, detach):
    student, passes = random(3, 4).requires_grad_(), random(4, 3, 4, seed=1)
    teacher = Passes(passes[1:])
    method = made(teacher, student, passes=4, percentile=60.0, detach_attention=detach)
    assert teacher.dropout
    view = mixed_view(3) if mixed else plain_view(3)
    loss = method.compute([student], [passes[0]], view)['guided']
    simulated = [view.simulate(p).tolist() for p in passes]
    start = student.tolist()

    def naive_loss(own: list) -> float:
        target = naive_target(start if detach else own, simulated, 5.0, 60.0)
        pairs = (pair for rows in zip(own, target) for pair in zip(*rows))
        return sum((a - b) ** 2 for a, b in pairs) / 12

    assert float(loss.detach()) == pytest.approx(naive_loss(start), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, student)
    for n in range(3):
        for c in range(4):
            ahead, behind = copy.deepcopy(start), copy.deepcopy(start)
            ahead[n][c] += 1e-5
            behind[n][c] -= 1e-5
            slope = (naive_loss(ahead) - naive_loss(behind)) / 2e-5
            assert float(gradient[n, c]) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_no_dropout_and_dropout_behind_the_tap():
    student = random(3, 4)
    with pytest.raises(ConfigError, match=r'teacher\.config.*dropout'):
        made(Passes([], dropouts=()), student)
    # Equal passes may be chance, once.
    method = made(Passes([student] * 10), student, passes=2)
    for _ in range(9):
        method.compute([student], [student], plain_view(3))
    with pytest.raises(ConfigError, match='behind the tap'):
        method.compute([student], [student], plain_view(3))
    method = made(Passes([student + 1] + [student] * 10), student, passes=2)
    for _ in range(11):
        method.compute([student], [student], plain_view(3))


def dropping(width: int = 4) -> dict:
    # Branches that start at zero would make dropping them invisible.
    extra = dict(drop_path_rate=0.5, zero_init_residual=False)
    return dict(backbone=dict(model_config('cls', width)['backbone'], **extra))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_step_of_a_student_that_starts_from_its_teacher(dtype, tmp_path):
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path, width=4, **dropping()),
        inherit=('backbone', 'head'),
        methods=dict(past=dict(type='mmkd.StochasticSelfKD', student=TAP, teacher=TAP, passes=3)),
    )
    teacher = model.distiller.teachers['']
    inputs, samples = preprocessed(model, 'cls')
    with torch.autocast('cpu', dtype=dtype):
        losses = model(inputs, samples, mode='loss')
    loss = losses['distill.past.loss_guided']
    assert loss.dtype == torch.float32 and loss.isfinite() and loss > 0
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    assert all(p.grad is None for p in teacher.model.parameters())
    training = {type(m).__name__ for m in teacher.model.modules() if m.training}
    assert training == {'DropPath'}  # BatchNorm is in eval mode
    assert torch.equal(teacher.model.head.fc.weight, model.head.fc.weight)


def test_a_teacher_without_dropout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'model\.distill\.teacher\.config'):
        make_student(
            'cls',
            teacher=teacher_config('cls', tmp_path, width=4),
            methods=dict(past=dict(type='mmkd.StochasticSelfKD', student=TAP, teacher=TAP)),
        )
