"""CosPress: its map learns angles, and the student the map's directions."""

from __future__ import annotations

import math

import pytest
import torch
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import CosPress
from mmkd.methods.cospress import cosine_distance, similarity_error

EMBEDDING = dict(module='head.fc', source='input')


@pytest.mark.parametrize('mixed', [False, True])
def test_terms_and_who_learns_from_them(mixed):
    student, teacher = random(4, 3).requires_grad_(), random(4, 6, seed=1)
    method = built(CosPress('a', 'b'), [student], [teacher])
    view = mixed_view(4) if mixed else plain_view(4)
    losses = method.compute([student], [teacher], view)
    seen = view.simulate(teacher)
    compressed = seen @ method.compress.weight.detach().T
    torch.testing.assert_close(losses['map'], similarity_error(compressed, seen))
    torch.testing.assert_close(losses['direction'], cosine_distance(student, compressed))
    losses['direction'].backward(retain_graph=True)
    assert student.grad.any() and method.compress.weight.grad is None
    student.grad = None
    losses['map'].backward()
    assert student.grad is None and method.compress.weight.grad.any()


def test_one_image_leaves_every_parameter_in_the_graph():
    student, teacher = random(1, 3).requires_grad_(), random(1, 6, seed=1)
    method = built(CosPress('a', 'b'), [student], [teacher])
    losses = method.compute([student], [teacher], plain_view(1))
    assert losses['map'] == 0
    sum(losses.values()).backward()
    assert method.compress.weight.grad.isfinite().all()


def test_the_map_learns_the_angles():
    student, teacher = random(8, 5), random(8, 12, seed=1)
    method = built(CosPress('a', 'b'), [student], [teacher])
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    seen = []
    for _ in range(100):
        loss = method.compute([student], [teacher], plain_view(8))['map']
        seen.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < 0.5 * seen[0]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_similarity_error(count):
    mapped, original = random(count, 3), random(count, 6, seed=1)
    squares = [
        (cosine(mapped[i].tolist(), mapped[j].tolist()) - cosine(a.tolist(), b.tolist())) ** 2
        for i, a in enumerate(original)
        for j, b in enumerate(original)
        if i != j
    ]
    expected = sum(squares) / max(len(squares), 1)
    assert float(similarity_error(mapped, original)) == pytest.approx(expected, rel=1e-9)
    assert similarity_error(3 * original, original) == pytest.approx(0, abs=1e-15)
    assert torch.autograd.gradcheck(
        lambda x: similarity_error(x, original), mapped.requires_grad_(), atol=1e-6
    )


def test_cosine_distance():
    student, teacher = random(4, 5), random(4, 5, seed=1)
    rows = [1 - cosine(s, t) for s, t in zip(student.tolist(), teacher.tolist())]
    assert float(cosine_distance(student, teacher)) == pytest.approx(sum(rows) / 4, rel=1e-9)
    assert cosine_distance(2 * teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert cosine_distance(-teacher, teacher) == pytest.approx(2)
    assert torch.autograd.gradcheck(lambda x: cosine_distance(x, teacher), student.requires_grad_())
