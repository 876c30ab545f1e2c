"""Distributions of pairs against loops."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.functional import region_means
from mmkd.methods.instance_kd import box_means, label_error, log_distributions, pair_divergence


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('shape', [(3, 5), (1, 1), (2, 1)])
def test_divergence_equals_loops(activation, tau, shape):
    pair = [random(*shape), random(*shape, seed=1)]
    logs = [log_distributions(z, tau, activation) for z in pair]
    easier = torch.arange(shape[0]) % 2 == 0
    both, taught = [], []
    for number, (a, b) in enumerate(zip(*[z.tolist() for z in pair])):
        p, q = (naive.distributions(row, tau, activation) for row in (a, b))
        towards_a = sum(naive.divergence(s, t) for s, t in zip(p, q))
        towards_b = sum(naive.divergence(t, s) for s, t in zip(p, q))
        both.append(tau**2 * (towards_a + towards_b) / 2)
        taught.append(tau**2 * (towards_a if number % 2 == 0 else towards_b))
    symmetric = pair_divergence(*logs, tau=tau)
    one_way = pair_divergence(*logs, easier, tau)
    assert float(symmetric) == pytest.approx(sum(both) / len(both), rel=1e-6, abs=1e-14)
    assert float(one_way) == pytest.approx(sum(taught) / len(taught), rel=1e-6, abs=1e-14)


def test_divergence_is_zero_where_both_are_equal_or_there_is_no_pair():
    log = log_distributions(random(3, 5) * 30, 1.0, 'softmax')
    assert float(pair_divergence(log, log)) == 0
    empty = log[:0].requires_grad_()
    loss = pair_divergence(empty, empty)
    assert loss.requires_grad and float(loss.detach()) == 0


@pytest.mark.parametrize('detach', [True, False])
def test_gradients(detach):
    """Numerical ones, with the target held where it is detached."""
    first, second = random(2, 4), random(2, 4, seed=1)
    easier = torch.tensor([True, True])

    def loss(a, b):
        logs = [log_distributions(z, 2.0, 'softmax') for z in (a, b)]
        return pair_divergence(*logs, easier, 2.0, detach)

    a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
    loss(a, b).backward()
    assert b.grad.any()
    assert (a.grad is None or not a.grad.any()) == detach
    a.grad = b.grad = None
    symmetric = pair_divergence(*[log_distributions(z, 2.0, 'softmax') for z in (a, b)])
    symmetric.backward()
    assert a.grad.any() and b.grad.any()
    if not detach:
        assert torch.autograd.gradcheck(loss, (first.requires_grad_(), second.requires_grad_()))


@pytest.mark.parametrize('classes', [1, 4])
def test_label_error_equals_loops(classes):
    logits, labels = random(3, classes), torch.tensor([0, classes - 1, 0])
    for activation in ('softmax', 'sigmoid'):
        found = label_error(log_distributions(logits, 1.0, activation), labels, activation)
        for value, row, label in zip(found.tolist(), logits.tolist(), labels.tolist()):
            if activation == 'softmax':
                expected = -math.log(naive.softmax(row)[label])
            else:
                right = [naive.sigmoid(v if k == label else -v) for k, v in enumerate(row)]
                expected = -sum(math.log(p) for p in right)
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_means_of_classes_equal_loops():
    probs = random(2, 3, 4, 5).softmax(1)
    labels = torch.randint(0, 2, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    labels[0, 0] = 255
    labels[1] = 255  # an image without any class
    labels[0, 3, 3] = -1
    means, counts = region_means(probs, labels, 3)
    for n in range(2):
        for c in range(3):
            pixels = [(y, x) for y in range(4) for x in range(5) if labels[n, y, x] == c]
            assert int(counts[n, c]) == len(pixels)
            for k in range(3):
                values = [float(probs[n, k, y, x]) for y, x in pixels]
                expected = sum(values) / max(len(values), 1)
                assert float(means[n, c, k]) == pytest.approx(expected, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize('size', [(5, 7), (1, 1), (1, 6), (6, 1), (2, 2)])
@pytest.mark.parametrize('points', [1, 4])
def test_box_means_equal_loops(size, points):
    features = random(2, 3, *size)
    height, width = size
    images = torch.tensor([0, 1, 1, 0])
    boxes = torch.tensor(
        [
            [0.0, 0.0, width, height],
            [0.3, 0.1, width * 0.7, height * 0.9],
            [width - 0.2, height - 0.1, width, height],  # inside one cell, at the border
            [1.2, 0.4, 1.2, 0.4],  # no extent
        ],
        dtype=torch.double,
    )
    found = box_means(features, images, boxes, points)
    for p, (image, (x1, y1, x2, y2)) in enumerate(zip(images.tolist(), boxes.tolist())):
        for c in range(3):
            total = 0.0
            for i in range(points):
                for j in range(points):
                    y = y1 + (i + 0.5) / points * (y2 - y1) - 0.5
                    x = x1 + (j + 0.5) / points * (x2 - x1) - 0.5
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    for row in range(height):
                        for column in range(width):
                            weight = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                            total += weight * float(features[image, c, row, column])
            assert float(found[p, c]) == pytest.approx(total / points**2, rel=1e-6, abs=1e-12)


def test_box_means_are_roi_align_inside_the_map():
    from torchvision.ops import roi_align

    features = random(2, 3, 9, 11)
    images = torch.tensor([1, 0])
    boxes = torch.tensor([[1.2, 1.7, 8.1, 7.3], [0.6, 0.8, 3.3, 2.9]], dtype=torch.double)
    rois = torch.cat([images[:, None].double(), boxes], 1)
    expected = roi_align(features, rois, 4, sampling_ratio=1, aligned=True).mean((2, 3))
    torch.testing.assert_close(box_means(features, images, boxes), expected)


def test_no_boxes_still_have_a_gradient_path():
    features = random(1, 2, 3, 3).requires_grad_()
    found = box_means(features, torch.zeros(0, dtype=torch.long), torch.zeros(0, 4))
    assert found.shape == (0, 2)
    found.sum().backward()
    assert not features.grad.any()
