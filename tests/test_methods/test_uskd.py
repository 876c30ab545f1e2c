"""USKD against loops over images and classes."""

from __future__ import annotations

import math

import pytest
import torch
from support.labels import class_view
from support.tiny_models import make_student
from support.views import built, random
from torch import nn

from mmkd.methods import USKD

TAPS = dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,)))


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    exponents = [math.exp(x - top) for x in row]
    return [e / sum(exponents) for e in exponents]


def naive(logits, weak_logits, labels, rank_from, targets_each) -> dict[str, float]:
    """From the formulas; the largest entries of a label are its targets, even where they are 0."""
    count, classes = len(logits), len(logits[0])
    probs = [softmax(row) for row in logits]
    weak = [softmax(row) for row in weak_logits]
    targets = []
    for row in labels:
        ordered = sorted(range(classes), key=lambda k, row=row: -row[k])
        targets.append(ordered[:targets_each])
    means = []
    for place in range(targets_each):
        squares = [probs[i][t[place]] ** 2 for i, t in enumerate(targets)]
        means.append(sum(squares) / count)
    result = dict(target=0.0, non_target=0.0, weak=0.0)
    for i in range(count):
        for place, k in enumerate(targets[i]):
            soft = probs[i][k] ** 2 + labels[i][k] - means[place] if labels[i][k] else 0.0
            result['target'] -= soft * math.log(probs[i][k]) / count
        for k in range(classes):
            wanted = 0.9 * labels[i][k] + 0.1 / classes
            result['weak'] -= wanted * math.log(weak[i][k]) / count
        own = [math.log(p) for p in probs[i]] if rank_from == 'log_prob' else probs[i]
        rest = [1 - sum(side[k] for k in targets[i]) + 1e-6 for side in (weak[i], own)]
        rank = [weak[i][k] / rest[0] + own[k] / rest[1] for k in range(classes)]
        ordered = sorted(range(classes), key=lambda k, rank=rank: -rank[k])
        others = [k for k in range(classes) if k not in targets[i]]
        zipf = {k: 1 / (ordered.index(k) + 1) for k in others}
        inside = softmax([logits[i][k] for k in others]) if others else []
        for k, p in zip(others, inside):
            result['non_target'] -= zipf[k] / sum(zipf.values()) * math.log(p) / count
    return result


def soft_labels(classes: int) -> torch.Tensor:
    """Two classes; the same class twice; three classes, of which two count."""
    labels = torch.zeros(4, classes, dtype=torch.double)
    labels[0, 0], labels[0, 1] = 0.3, 0.7
    labels[1, 1] = 1.0
    labels[2, 0], labels[2, classes - 1] = 0.5, 0.5 - 1e-3
    if classes > 2:
        labels[2, 1] = 1e-3
        labels[3, 2] = 1.0
    else:
        labels[2, 1] = 0.5
        labels[3, 0] = 1.0
    return labels


@pytest.mark.parametrize('rank_from', ['log_prob', 'prob'])
@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('classes', [2, 3, 7])
def test_equals_loops(classes, soft, rank_from):
    student = dict(
        logits=[random(4, classes).requires_grad_()],
        feature=[random(4, 5, 3, 2, seed=1).requires_grad_()],
    )
    method = USKD(TAPS, alpha=0.5, beta=2.0, mu=0.1, rank_from=rank_from)
    method = built(method, student, [])
    labels = soft_labels(classes) if soft else torch.eye(classes).double()[[0, 1, 0, classes - 1]]
    view = class_view(labels if soft else labels.argmax(1))
    losses = method.compute(student, [], view)
    pooled = student['feature'][0].mean((2, 3))
    weak = [method.head(row).tolist() for row in pooled]
    expected = naive(student['logits'][0].tolist(), weak, labels.tolist(), rank_from, 1 + soft)
    for name, weight in dict(target=0.5, non_target=2.0, weak=0.1).items():
        assert float(losses[name]) == pytest.approx(weight * expected[name], rel=1e-9, abs=1e-12)
    sum(losses.values()).backward()
    assert student['logits'][0].grad.isfinite().all() and student['logits'][0].grad.any()
    assert student['feature'][0].grad.any() and method.head.weight.grad.any()


def test_the_weak_head_reads_the_class_token_of_a_sequence():
    tokens = random(3, 5, 4, seed=1)
    student = dict(logits=[random(3, 6)], feature=[tokens])
    method = built(USKD(TAPS), student, [])
    maps = dict(student, feature=[tokens[:, :1].transpose(1, 2)[..., None]])
    view = class_view([1, 0, 4])
    found, expected = (method.compute(taps, [], view) for taps in (student, maps))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_soft_targets_and_ranks_carry_no_gradient():
    """The gradient of the target term alone is that of a cross-entropy with fixed labels."""
    logits = random(3, 5).requires_grad_()
    student = dict(logits=[logits], feature=[random(3, 2, 1, 1)])
    method = built(USKD(TAPS), student, [])
    loss = method.compute(student, [], class_view([1, 0, 4]))['target']
    (gradient,) = torch.autograd.grad(loss, logits)
    probs = logits.detach().softmax(1)
    own = probs[range(3), [1, 0, 4]]
    soft = own**2 + 1 - (own**2).mean()
    expected = soft[:, None] * (probs - torch.eye(5).double()[[1, 0, 4]]) / 3
    torch.testing.assert_close(gradient, expected)


def test_the_weak_head_is_trained_and_not_saved_with_the_student():
    model = make_student('cls', methods=dict(uskd=dict(type='mmkd.USKD', student=TAPS)))
    assert isinstance(model.distiller.methods['uskd'].head, nn.Linear)
    assert any(name.endswith('uskd.head.weight') for name, _ in model.named_parameters())
    assert not any('uskd' in name for name in model.state_dict())
