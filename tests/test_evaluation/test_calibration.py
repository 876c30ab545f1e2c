"""Calibration against loops over images and bins."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, DefaultScope
from mmpretrain.structures import DataSample

from mmkd.evaluation import Calibration
from mmkd.evaluation.calibration import expected_calibration_error, negative_log_likelihood
from mmkd.utils import ConfigError


def naive_ece(confidence, correct, bins) -> float:
    total = 0.0
    for b in range(bins):
        inside = [
            (c, k)
            for c, k in zip(confidence, correct)
            if (b / bins < c <= (b + 1) / bins) or (b == 0 and c == 0)
        ]
        if inside:
            accuracy = sum(k for _, k in inside) / len(inside)
            mean = sum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize('bins', [1, 3, 15])
@pytest.mark.parametrize('classes', [2, 10])
def test_the_metric_equals_loops(bins, classes):
    generator = torch.Generator().manual_seed(classes)
    probs = (3 * torch.randn(200, classes, generator=generator, dtype=torch.double)).softmax(1)
    labels = torch.randint(0, classes, (200,), generator=generator)
    samples = [
        DataSample().set_gt_label(int(y)).set_pred_score(p).to_dict() for p, y in zip(probs, labels)
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        metric = METRICS.build(dict(type='mmkd.Calibration', bins=bins))
    assert type(metric) is Calibration
    for start in range(0, 200, 50):
        metric.process(None, samples[start : start + 50])
    found = metric.evaluate(200)
    confidence = [max(row.tolist()) for row in probs]
    correct = [row.tolist().index(max(row.tolist())) == int(y) for row, y in zip(probs, labels)]
    nll = sum(-math.log(float(row[y])) for row, y in zip(probs, labels)) / 200
    assert found['calibration/ece'] == pytest.approx(100 * naive_ece(confidence, correct, bins))
    assert found['calibration/nll'] == pytest.approx(nll)


def test_bins_are_closed_on_the_right_and_certainty_counts():
    confidence = torch.tensor([0.2, 0.4, 1.0, 0.0], dtype=torch.double)
    correct = torch.tensor([True, False, True, False])
    expected = naive_ece(confidence.tolist(), correct.tolist(), 5)
    assert float(expected_calibration_error(confidence, correct, 5)) == pytest.approx(expected)
    # Two images of one bin cancel; in bins of their own they do not.
    assert float(expected_calibration_error(confidence[:2], correct[:2], 1)) == pytest.approx(0.2)
    assert float(expected_calibration_error(confidence[:2], correct[:2], 5)) == pytest.approx(0.6)


def test_an_impossible_label_is_finite():
    assert float(negative_log_likelihood(torch.zeros(2))) == pytest.approx(-math.log(2**-126))


def test_several_labels_and_missing_scores_are_refused():
    sample = DataSample().set_gt_label([0, 1]).set_pred_score(torch.ones(3) / 3).to_dict()
    with pytest.raises(ConfigError, match='one gt_label'):
        Calibration().process(None, [sample])
    with pytest.raises(ConfigError, match='pred_score'):
        Calibration().process(None, [DataSample().set_gt_label(1).to_dict()])
    with pytest.raises(ConfigError, match='bins'):
        Calibration(bins=0)


def test_it_stands_beside_the_accuracy():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        evaluator = Evaluator([dict(type='Accuracy', topk=(1,)), dict(type='mmkd.Calibration')])
    score = torch.tensor([0.25, 0.75])
    evaluator.process([DataSample().set_gt_label(1).set_pred_score(score) for _ in range(4)])
    found = evaluator.evaluate(4)
    assert found['accuracy/top1'] == 100
    assert found['calibration/ece'] == pytest.approx(25)
    assert found['calibration/nll'] == pytest.approx(-math.log(0.75))
