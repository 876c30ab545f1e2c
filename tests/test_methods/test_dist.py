"""DIST against loops over rows and columns, for images and pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support import naive, naive_logits
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import DIST
from mmkd.methods.dist import pearson_distance
from mmkd.mixers import PatchMix
from mmkd.utils import ConfigError

TAPS = dict(cls=dict(student='head.fc', teacher='head.fc'))
TAPS['seg'] = dict(student='decode_head.conv_seg', teacher='decode_head.conv_seg')


def rows(maps: torch.Tensor) -> list[list[float]]:
    """Return the pixels of maps (N, K, H, W), or the images of logits (N, K)."""
    if maps.ndim == 2:
        return maps.tolist()
    n, _, height, width = maps.shape
    places = [(i, y, x) for i in range(n) for y in range(height) for x in range(width)]
    return [maps[i, :, y, x].tolist() for i, y, x in places]


@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('shape', [(5, 3), (6, 9), (2, 4, 3, 2), (1, 3, 2, 5)])
def test_equals_loops(shape, tau):
    student, teacher = 2 * random(*shape), 2 * random(*shape, seed=1)
    method = built(DIST('a', 'b', tau=tau, beta=2.0, gamma=0.5), [student], [teacher])
    losses = method.compute([student], [teacher], plain_view(shape[0]))
    probs = [naive.softmax([v / tau for v in row]) for row in rows(teacher)]
    inter, intra = naive_logits.dist(rows(student), probs, tau)
    assert float(losses['inter']) == pytest.approx(2 * inter, rel=1e-9)
    assert float(losses['intra']) == pytest.approx(0.5 * intra, rel=1e-9)


@pytest.mark.parametrize('shape', [(5, 2), (2, 2, 3, 4)])
def test_two_classes(shape):
    """Within an image two probabilities always correlate with ±1; over the images they do not."""
    student, teacher = random(*shape).requires_grad_(), random(*shape, seed=1)
    with pytest.raises(ConfigError, match='beta: must be 0 for two classes'):
        built(DIST('a', 'b'), [student], [teacher])
    losses = built(DIST('a', 'b', beta=0), [student], [teacher]).compute(
        [student], [teacher], plain_view(shape[0])
    )
    assert list(losses) == ['intra']
    probs = [naive.softmax(row) for row in rows(teacher)]
    _, intra = naive_logits.dist(rows(student.detach()), probs, 1.0)
    assert float(losses['intra'].detach()) == pytest.approx(intra, rel=1e-9)
    (gradient,) = torch.autograd.grad(losses['intra'], student)
    assert gradient.any()


def test_student_is_resized_to_the_teacher_and_mixed_images_are_gathered():
    view = mixed_view(2, PatchMix(variant='permutation', grid=(2, 2)))
    student, teacher = random(2, 4, 2, 2), 2 * random(2, 4, 4, 4, seed=1)
    method = built(DIST('a', 'b', resize=True), [student], [teacher])
    losses = method.compute([student], [teacher], view)
    resized = F.interpolate(student, (4, 4), mode='bilinear', align_corners=False)
    probs = view.simulate(teacher.softmax(1))
    assert not torch.equal(probs, teacher.softmax(1))
    inter, intra = naive_logits.dist(rows(resized), rows(probs), 1.0)
    assert float(losses['inter']) == pytest.approx(inter, rel=1e-6)
    assert float(losses['intra']) == pytest.approx(intra, rel=1e-6)


def test_logits_of_regions_are_refused():
    regions = [random(6, 4)]
    with pytest.raises(ConfigError, match='6 rows of logits for 2 images'):
        built(DIST('a', 'b'), regions, regions).compute(regions, regions, plain_view(2))


@pytest.mark.parametrize('scale', [3, 1e-3])
@pytest.mark.parametrize('classes', [2, 3, 11])
def test_pearson_distance_equals_loops(classes, scale):
    """Also where the rows are so flat that ε matters."""
    student, teacher = ((scale * random(5, classes, seed=i)).softmax(1) for i in (0, 1))
    for s, t in ((student, teacher), (student.T, teacher.T)):
        expected = [1 - naive_logits.pearson(u, v) for u, v in zip(s.tolist(), t.tolist())]
        assert float(pearson_distance(s, t)) == pytest.approx(
            sum(expected) / len(expected), rel=1e-9
        )
    assert torch.autograd.gradcheck(
        lambda x: pearson_distance(x.softmax(1).T, teacher.T), random(5, classes).requires_grad_()
    )


def test_pearson_distance_is_zero_without_equal_values():
    student, teacher = random(4, 6), random(4, 6, seed=1)
    rising = 0.1 * teacher + random(4, 1, seed=2)
    assert float(pearson_distance(rising, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(pearson_distance(-teacher, teacher)) == pytest.approx(2)
    assert 0 < float(pearson_distance(student, teacher)) < 2


@pytest.mark.parametrize('dtype', [torch.float32, torch.double])
def test_constant_rows_have_a_finite_gradient(dtype):
    """A head that starts from zeros gives all classes the same score: ε is all that divides."""
    student = torch.full((3, 4), 0.25, dtype=dtype).requires_grad_()
    teacher = random(3, 4).to(dtype).softmax(1)
    loss = pearson_distance(student, teacher)
    loss.backward()
    assert float(loss.detach()) == 1
    expected = -(teacher - teacher.mean(1, keepdim=True)) / 1e-8 / 3
    torch.testing.assert_close(student.grad, expected)
    half = torch.stack([teacher[0], torch.full((4,), 0.25, dtype=dtype)])
    assert float(pearson_distance(half, teacher[:2])) == pytest.approx(0.5, abs=1e-6)
