"""IFVD against loops; labels of every kind, classes, a step."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from support.naive import label_map, naive_means
from support.tiny_models import make_student, teacher_config
from support.views import built, labeled_view, random

from mmkd.methods import IFVD
from mmkd.methods.ifvd import class_similarity, variation_loss
from mmkd.utils import ConfigError

CLASSES = 3
TAPS = dict(student='decode_head.bottleneck', teacher='decode_head.bottleneck')


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize('mask_ignored', [False, True])
@pytest.mark.parametrize('channels', [4, 6])
def test_variation_loss(mask_ignored, channels):
    student, teacher = random(2, channels, 3, 5), random(2, 4, 3, 5, seed=1)
    labels = label_map(2, 3, 5)
    labels[0, 0] = 255
    labels[1, 2, 2] = 255
    total, cells = 0.0, 0
    for n in range(2):
        for y in range(3):
            for x in range(5):
                k = int(labels[n, y, x])
                if k == 255:
                    continue  # its own prototype: cosine 1 on both sides
                similar = [
                    cosine(f[n, :, y, x].tolist(), naive_means(f, labels, n, k)[0])
                    for f in (student, teacher)
                ]
                total += (similar[0] - similar[1]) ** 2
                cells += 1
    assert cells == 24
    loss = variation_loss(student, teacher, labels, CLASSES, mask_ignored=mask_ignored)
    assert float(loss) == pytest.approx(total / (cells if mask_ignored else 30), rel=1e-6)


def test_similarity_of_ignored_cells_and_of_single_ones_is_one():
    labels = torch.tensor([[[0, 255, 255]]])
    similarity = class_similarity(random(1, 4, 1, 3), labels, CLASSES)
    torch.testing.assert_close(similarity, torch.ones(1, 1, 3, dtype=torch.double))


def test_an_ignored_cell_of_zeros_on_one_side():
    """Its cosine with itself is 0 there and 1 on the other side; masked, it does not count."""
    student, teacher = random(1, 4, 1, 2).requires_grad_(), random(1, 4, 1, 2, seed=1)
    zeros = torch.tensor([1.0, 0.0], dtype=torch.double)
    labels = torch.tensor([[[0, 255]]])
    loss = variation_loss(student * zeros, teacher, labels, CLASSES)
    assert loss.item() == pytest.approx(1 / 2)
    loss.backward()
    assert not student.grad[..., 1].any()
    masked = variation_loss(student * zeros, teacher, labels, CLASSES, mask_ignored=True)
    assert masked.item() == pytest.approx(0, abs=1e-12)
    assert variation_loss(student * zeros, teacher * zeros, labels, CLASSES) < 1e-12


@pytest.mark.parametrize('mask_ignored', [False, True])
def test_variation_loss_is_zero(mask_ignored):
    """For equal sides, for a single cell, and where everything is ignored; the gradients too."""
    labels = label_map(2, 3, 5)
    feature = random(2, 4, 3, 5)
    assert variation_loss(feature, feature, labels, CLASSES, mask_ignored=mask_ignored) == 0
    student = random(2, 4, 3, 5, seed=1).requires_grad_()
    ignored = torch.full_like(labels, 255)
    loss = variation_loss(student, feature, ignored, CLASSES, mask_ignored=mask_ignored)
    loss.backward()
    assert loss == 0 and not student.grad.any() and student.grad.isfinite().all()
    single = variation_loss(student[..., :1, :1], feature[..., :1, :1], labels[:, :1, :1], CLASSES)
    assert float(single) == pytest.approx(0, abs=1e-12)


def labels_of(*shape):
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('mask_ignored', [False, True])
def test_labels_follow_the_nearest_pixel_and_maps_the_teachers_size(mask_ignored):
    """Class 2 is absent, some pixels are ignored, the channels differ."""
    student = [random(2, 3, 2, 2), random(2, 3, 1, 1, seed=1)]
    teacher = [random(2, 6, 4, 4, seed=2), random(2, 6, 1, 1, seed=3)]
    labels = labels_of(2, 8, 8)
    labels[0, :4, :4] = 255
    method = built(
        IFVD('a', 'b', num_classes=3, mask_ignored=mask_ignored, resize=True), student, teacher
    )
    loss = method.compute(student, teacher, labeled_view(labels))
    assert list(loss) == ['variation']
    expected = [
        variation_loss(s, t, small, 3, 255, mask_ignored)
        for s, t, small in (
            (
                F.interpolate(student[0], (4, 4), mode='bilinear', align_corners=False),
                teacher[0],
                labels[:, ::2, ::2],
            ),
            (student[1], teacher[1], labels[:, :1, :1]),
        )
    ]
    assert float(loss['variation']) == pytest.approx(float(sum(expected)) / 2, rel=1e-9)
    assert expected[0] > 0


@pytest.mark.parametrize('ignore_index', [255, 1])
def test_everything_ignored(ignore_index):
    student, teacher = [random(2, 3, 4, 4).requires_grad_()], [random(2, 3, 4, 4, seed=1)]
    method = built(IFVD('a', 'b', num_classes=2, ignore_index=ignore_index), student, teacher)
    view = labeled_view(torch.full((2, 8, 8), ignore_index))
    loss = method.compute(student, teacher, view)['variation']
    loss.backward()
    assert loss == 0 and not student[0].grad.any() and student[0].grad.isfinite().all()


def test_bad_arguments():
    features = [random(2, 3, 4, 4)]
    with pytest.raises(ConfigError, match=r'num_classes'):
        built(IFVD('a', 'b'), features, features)
    method = built(IFVD('a', 'b', num_classes=2), features, features)
    view = labeled_view(labels_of(2, 8, 8))
    view.data_samples = []
    with pytest.raises(ConfigError, match='gt_sem_seg'):
        method.compute(features, features, view)


def test_the_number_of_classes_is_that_of_the_teachers_head(tmp_path):
    model = make_student(
        'seg',
        teacher=teacher_config('seg', tmp_path),
        methods=dict(ifvd=dict(type='mmkd.IFVD', **TAPS)),
    )
    assert model.distiller.methods['ifvd'].classes == model.decode_head.num_classes
