"""Targets of dense heads against the assigners, one prior at a time."""

from __future__ import annotations

import pytest
import torch
from support.heads import CLASSES, LEVELS, det_samples, detector_of, naive_targets, teachers_of

from mmkd.methods.detection import HeadMethod, dense_targets
from mmkd.utils import ConfigError


def inside_of(head, samples):
    """Return which priors of every image and level lie in the image; all if it has no anchors."""
    for sample in samples:
        if hasattr(head, 'get_anchors'):
            flags = head.prior_generator.valid_flags(LEVELS, sample.pad_shape, device='cpu')
            yield [level.tolist() for level in flags]
        else:
            yield [[True] * (h * w) for h, w in LEVELS]


@pytest.mark.parametrize('family', ['retina', 'gfl', 'atss', 'fcos'])
def test_targets(family):
    """Objects, a crowd, the padding of a smaller image, an image without objects."""
    head = detector_of(family).bbox_head
    samples = det_samples()
    expected, total = naive_targets(head, samples)
    targets, number = dense_targets(head, LEVELS, samples, torch.zeros(1, dtype=torch.double))
    assert len(targets) == len(expected)
    positives, checked = 0, []
    for target, rows in zip(targets, expected):
        priors, labels, weights = zip(*rows)
        torch.testing.assert_close(target.priors, torch.tensor(priors).double())
        assert target.labels.tolist() == list(labels)
        assert target.weights.tolist() == list(weights)
        assert target.weights.dtype == torch.double
        assert target.positive.tolist() == [label < CLASSES for label in labels]
        assert target.boxes.shape == (len(rows), 4)
        seen = [inside for image in inside_of(head, samples) for inside in image[len(checked)]]
        assert target.inside.tolist() == seen
        checked.append(target)
        positives += sum(label < CLASSES for label in labels)
    assert positives > 3
    if family != 'fcos':
        assert any(0.0 in target.weights for target in targets)
    assert float(number) == (positives if family == 'fcos' else total)


@pytest.mark.parametrize('family', ['retina', 'gfl', 'fcos'])
def test_no_objects_at_all(family):
    head = detector_of(family).bbox_head
    samples = [det_samples()[1], det_samples()[1]]
    targets, number = dense_targets(head, LEVELS, samples, torch.zeros(1))
    assert not any(target.positive.any() for target in targets)
    assert float(number) >= 1


def test_heads_that_cannot_assign():
    model, method = detector_of('gfl'), HeadMethod('bbox_head', 'bbox_head')
    method.build(model, {}, {}, teachers_of(model))
    del model.bbox_head.assigner
    with pytest.raises(ConfigError, match=r'^teacher: .*train_cfg'):
        method.build(model, {}, {}, teachers_of(model))
    model.bbox_head = torch.nn.Identity()
    with pytest.raises(ConfigError, match=r'^teacher: .*not a dense detection head'):
        method.build(model, {}, {}, teachers_of(model))
