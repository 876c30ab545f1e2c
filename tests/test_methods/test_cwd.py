"""CWD against loops."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from support import naive
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import CWD
from mmkd.methods.cwd import channel_kl


def by_loops(student, teacher, tau):
    n, c = teacher.shape[:2]
    total = 0.0
    for i in range(n):
        for k in range(c):
            target = naive.softmax([v / tau for v in teacher[i, k].flatten().tolist()])
            total += naive.kl(target, student[i, k].flatten().tolist(), tau)
    return total / c / n


@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 2, 1, 7)])
def test_channel_kl_equals_loops(shape, tau):
    student, teacher = random(*shape), random(*shape, seed=1) * 3
    expected = by_loops(student, teacher, tau)
    assert expected > 0.01
    assert float(channel_kl(student, teacher, tau)) == pytest.approx(expected, rel=1e-9)


def test_zero_where_equal_and_on_one_cell():
    x = random(2, 3, 4, 4)
    assert float(channel_kl(x, x)) == 0
    # A constant added to a channel does not move its distribution.
    assert float(channel_kl(x + 5, x)) == pytest.approx(0, abs=1e-12)
    assert float(channel_kl(random(2, 3, 1, 1), random(2, 3, 1, 1, seed=1))) == 0


def test_extreme_activations_are_finite():
    student = (random(1, 2, 8, 8).float() * 1e4).requires_grad_()
    loss = channel_kl(student, random(1, 2, 8, 8, seed=1).float() * 1e4)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_levels_are_summed_channels_aligned_and_only_the_student_resized():
    student = [random(2, 2, 4, 4), random(2, 3, 2, 2, seed=1)]
    teacher = [random(2, 3, 8, 6, seed=2), random(2, 3, 2, 2, seed=3)]
    method = built(CWD('a', 'b', tau=2.0, resize=True), student, teacher)
    assert len(list(method.parameters())) == 2  # one 1×1 convolution
    loss = method.compute(student, teacher, plain_view())
    assert list(loss) == ['cwd']
    aligned = F.interpolate(
        method.adapters[0].project(student[0]), (8, 6), mode='bilinear', align_corners=False
    )
    expected = by_loops(aligned, teacher[0], 2.0) + by_loops(student[1], teacher[1], 2.0)
    assert float(loss['cwd'].detach()) == pytest.approx(expected, rel=1e-9)


def test_of_mixed_images():
    view = mixed_view(2)
    student, teacher = random(2, 3, 8, 8), random(2, 3, 8, 8, seed=1)
    method = built(CWD('a', 'b'), [student], [teacher])
    expected = by_loops(student, view.simulate(teacher), 1.0)
    loss = method.compute([student], [teacher], view)['cwd']
    assert float(loss) == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(by_loops(student, teacher, 1.0), rel=1e-3)
