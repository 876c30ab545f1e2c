"""Class centroids and conditional mutual information against loops over the definition."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.views import random

from mmkd.methods.mcmi import class_sums, conditional_mutual_information

SIZES = [(6, 2), (7, 5), (1, 3)]


def labels_of(kind: str, images: int, classes: int) -> torch.Tensor:
    """Return one class each, or distributions."""
    if kind == 'soft':
        return random(images, classes, seed=3).softmax(1)
    return torch.eye(classes, dtype=torch.double)[torch.arange(images) % classes]


def information(logits, centroids, labels) -> float:
    """Return the mean over images, for each class that one is of, of KL(p || q)."""
    total = 0.0
    for row, shares in zip(logits.tolist(), labels.tolist()):
        for share, centroid in zip(shares, centroids.tolist()):
            if share > 0:
                total += share * naive.divergence(naive.softmax(row), centroid)
    return total / len(logits)


@pytest.mark.parametrize('kind', ['hard', 'soft'])
@pytest.mark.parametrize('size', SIZES)
def test_information_equals_loops(size, kind):
    images, classes = size
    logits, labels = random(images, classes), labels_of(kind, images, classes)
    centroids = random(classes, classes, seed=1).softmax(1)
    value = conditional_mutual_information(logits, centroids, labels)
    assert float(value) == pytest.approx(information(logits, centroids, labels), abs=1e-9)
    assert float(value) > 0


@pytest.mark.parametrize('kind', ['hard', 'soft'])
@pytest.mark.parametrize('size', SIZES)
def test_centroids_equal_loops(size, kind):
    images, classes = size
    probs, labels = random(images, classes).softmax(1), labels_of(kind, images, classes)
    sums, counts = class_sums(probs, labels)
    for c in range(classes):
        weights = [float(labels[i, c]) for i in range(images)]
        assert float(counts[c]) == pytest.approx(sum(weights), abs=1e-12)
        for k in range(classes):
            expected = sum(w * float(probs[i, k]) for i, w in enumerate(weights))
            assert float(sums[c, k]) == pytest.approx(expected, abs=1e-12)


def test_information_of_hard_labels_is_that_of_the_joint_distribution():
    """I(X; Ŷ | Y) = H(Ŷ | Y) - H(Ŷ | X), with the empirical centroids."""
    logits, labels = random(12, 4), labels_of('hard', 12, 4)
    probs = logits.softmax(1)
    sums, counts = class_sums(probs, labels)
    centroids = sums / counts[:, None]

    def entropy(rows):
        return -(rows * rows.log()).sum(1)

    expected = (entropy(centroids) * counts / 12).sum() - entropy(probs).mean()
    value = conditional_mutual_information(logits, centroids, labels)
    assert float(value) == pytest.approx(float(expected), abs=1e-9)


def test_information_is_zero_where_every_output_is_its_centroid():
    logits = random(4, 5)
    centroids = logits.softmax(1).repeat(2, 1)[:5]
    value = conditional_mutual_information(logits, centroids, torch.eye(5).double()[:4])
    assert float(value) == pytest.approx(0, abs=1e-12)


def test_the_direction_is_that_of_output_to_centroid():
    """KL(p || q) and not KL(q || p), which differ by far here."""
    logits = torch.tensor([[3.0, 0.0]]).double()
    centroids = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).double()
    p = 1 / (1 + math.exp(-3))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    value = conditional_mutual_information(logits, centroids, torch.eye(2).double()[:1])
    assert float(value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('kind', ['hard', 'soft'])
def test_gradient(kind):
    logits, labels = random(5, 4).requires_grad_(), labels_of(kind, 5, 4)
    centroids = random(4, 4, seed=1).softmax(1)
    assert torch.autograd.gradcheck(
        lambda z: conditional_mutual_information(z, centroids, labels), logits
    )


@pytest.mark.parametrize('eps', [0.0, 1e-6, 0.01])
def test_a_centroid_without_a_class_gives_a_finite_value(eps):
    """A probability of 0 in a centroid counts as ε, so the information has a bound."""
    centroids = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    value = conditional_mutual_information(logits, centroids, torch.tensor([[1.0, 0.0]]), eps)
    value.backward()
    least = eps or torch.finfo(torch.float32).tiny
    assert float(value) == pytest.approx(-math.log(least), rel=1e-4)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('eps', [0.0, 1e-3])
@pytest.mark.parametrize('size', SIZES)
def test_centroids_are_cut_at_eps_alone(size, eps):
    images, classes = size
    logits, labels = random(images, classes), labels_of('hard', images, classes)
    centroids = (30 * random(classes, classes, seed=1)).softmax(1)
    assert (centroids < 1e-6).any()
    value = conditional_mutual_information(logits, centroids, labels, eps)
    cut = [[max(q, eps) for q in row] for row in centroids.tolist()]
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.argmax(1).tolist()):
        probs = naive.softmax(row)
        expected += sum(p * math.log(p / q) for p, q in zip(probs, cut[label])) / images
    assert float(value) == pytest.approx(expected, rel=1e-9)


def test_images_of_a_class_without_a_centroid_count_nothing():
    logits = random(3, 3).requires_grad_()
    centroids = random(3, 3, seed=1).softmax(1)
    centroids[2] = 0
    labels = torch.eye(3).double()
    value = conditional_mutual_information(logits, centroids, labels)
    first = conditional_mutual_information(logits[:2], centroids, labels[:2])
    assert float(value) == pytest.approx(float(first) * 2 / 3, abs=1e-12)
    value.backward()
    assert not logits.grad[2].any() and logits.grad[:2].any()
