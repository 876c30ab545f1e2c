"""InstanceKD against loops, and whole steps of the three tasks without a teacher."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from support import naive
from support.tiny_models import TASKS, ips, losses_of, make_student, preprocessed
from support.views import built, random

from mmkd.methods import InstanceKD
from mmkd.mixers import Pairs, View
from mmkd.models import plain
from mmkd.models.first_step import FirstStep
from mmkd.utils import ConfigError


def view_of(images, samples, size=(16, 16), **kwargs):
    inputs = torch.zeros(len(samples), 3, *size)
    pairs = Pairs(torch.tensor(images), torch.zeros(len(samples), 1, *size).bool(), **kwargs)
    return View(inputs, samples, inputs, samples, pairs=pairs)


def expected_of(rows, tau, activation, direction, errors):
    """Mean over (first, second) rows of probabilities, by the formula."""
    values = []
    for (p, q), (a, b) in zip(rows, errors):
        to_first = sum(
            naive.divergence(s, t) for s, t in zip(p, q)
        )  # KL(first || second): the first teaches
        to_second = sum(naive.divergence(t, s) for s, t in zip(p, q))
        both = (to_first + to_second) / 2
        values.append(both if direction == 'symmetric' else to_first if a < b else to_second)
    return tau**2 * sum(values) / len(values)


@pytest.mark.parametrize('direction', ['symmetric', 'easy_to_hard'])
@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_images(direction, activation, tau):
    logits, labels = random(6, 5), [3, 0, 4] * 2
    samples = [DataSample().set_gt_label(label) for label in labels]
    view = view_of([[0, 3], [1, 4], [2, 5]], samples)
    method = InstanceKD('head.fc', tau=tau, direction=direction, activation=activation)
    method = built(method, [logits], [])
    assert not list(method.parameters())
    loss = method.compute([logits], [], view)
    assert list(loss) == ['pair']
    table = logits.tolist()
    rows = [
        tuple(naive.distributions(table[i], tau, activation) for i in (n, n + 3)) for n in range(3)
    ]

    def error(i):
        right = naive.distributions(table[i], 1.0, activation)
        if activation == 'softmax':
            return -right[0][labels[i]]
        product = 1.0
        for k, (present, absent) in enumerate(right):
            product *= present if k == labels[i] else absent
        return -product

    errors = [(error(n), error(n + 3)) for n in range(3)]
    expected = expected_of(rows, tau, activation, direction, errors)
    assert float(loss['pair']) == pytest.approx(expected, rel=1e-6)
    assert float(method.monitored['pairs']) == 3


@pytest.mark.parametrize('direction', ['symmetric', 'easy_to_hard'])
def test_label_maps(direction):
    """Classes of both images, at the size of the logits; ignored pixels are of none."""
    tau, size, cells = 2.0, (8, 12), (4, 6)
    maps = torch.randint(0, 3, (4, *cells), generator=torch.Generator().manual_seed(0))
    maps[1] = 1
    maps[3][maps[3] == 1] = 255  # nothing in common with image 1
    full = maps.repeat_interleave(2, 1).repeat_interleave(2, 2)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels[None])) for labels in full]
    logits = random(4, 3, *cells)
    method = InstanceKD('decode_head.conv_seg', tau=tau, direction=direction)
    method = built(method, [logits], [])
    loss = method.compute([logits], [], view_of([[0, 2], [1, 3]], samples, size))['pair']

    def mean(image, label, t):
        pixels = [
            naive.softmax([float(v) / t for v in logits[image, :, y, x]])
            for y in range(cells[0])
            for x in range(cells[1])
            if maps[image, y, x] == label
        ]
        return [sum(p[k] for p in pixels) / len(pixels) for k in range(3)]

    rows, errors = [], []
    for first, second in ((0, 2), (1, 3)):
        for label in range(3):
            if (maps[first] == label).any() and (maps[second] == label).any():
                rows.append(([mean(first, label, tau)], [mean(second, label, tau)]))
                errors.append([-mean(i, label, 1.0)[label] for i in (first, second)])
    assert len(rows) == 3
    expected = expected_of(rows, tau, 'softmax', direction, errors)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_boxes():
    """Each box at the level whose stride is nearest to a quarter of its side."""
    size, classes, anchors = (64, 96), 3, 2
    levels = [random(2, anchors * classes, 64 // s, 96 // s, seed=s) for s in (8, 16, 32)]
    boxes = torch.tensor(
        [[[8.0, 8, 40, 40], [16, 8, 48, 24]], [[0, 0, 96, 64], [30, 20, 38, 28]]]
    )  # sides 32, 22.6, 78, 8: strides 8, 5.7, 19.6, 2
    fitting = [[0, 0], [1, 0]]
    view = view_of([[0, 1], [1, 0]], [None] * 2, size, boxes=boxes, labels=torch.tensor([2, 0]))
    method = InstanceKD(
        'bbox_head.retina_cls', tau=2.0, activation='sigmoid', num_classes=classes, points=2
    )
    method = built(method, levels, [])
    loss = method.compute(levels, [], view)['pair']
    rows = []
    for pair in range(2):
        members = []
        for side in range(2):
            level = levels[fitting[pair][side]][int(view.pairs.images[pair, side])]
            x1, y1, x2, y2 = boxes[pair, side].tolist()
            stride = 64 / level.shape[1]
            sums = [0.0] * classes
            for i in range(2):
                for j in range(2):
                    y = (y1 + (i + 0.5) / 2 * (y2 - y1)) / stride - 0.5
                    x = (x1 + (j + 0.5) / 2 * (x2 - x1)) / stride - 0.5
                    for row in range(level.shape[1]):
                        for column in range(level.shape[2]):
                            weight = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                            for channel in range(anchors * classes):
                                value = weight * float(level[channel, row, column])
                                sums[channel % classes] += value / (4 * anchors)
            members.append(naive.distributions(sums, 2.0, 'sigmoid'))
        rows.append(tuple(members))
    expected = expected_of(rows, 2.0, 'sigmoid', 'symmetric', [(0, 0)] * 2)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_zero_for_equal_members_and_for_no_pairs():
    logits = random(1, 5).repeat(2, 1).requires_grad_()
    samples = [DataSample().set_gt_label(1) for _ in range(2)]
    method = built(InstanceKD('head.fc'), [logits], [])
    assert float(method.compute([logits], [], view_of([[0, 1]], samples))['pair'].detach()) == 0
    levels = [random(2, 6, 4, 4).requires_grad_(), random(2, 6, 2, 2)]
    none = dict(boxes=torch.zeros(0, 2, 4), labels=torch.zeros(0, dtype=torch.long))
    view = view_of(torch.zeros(0, 2).long().tolist(), [None] * 2, **none)
    view.pairs = Pairs(torch.zeros(0, 2, dtype=torch.long), view.pairs.swapped, **none)
    for arguments in (dict(num_classes=3), dict(activation='sigmoid', num_classes=3)):
        method = built(InstanceKD('head', direction='easy_to_hard', **arguments), levels, [])
        loss = method.compute(levels, [], view)['pair']
        loss.backward()
        assert float(loss.detach()) == 0 and not levels[0].grad.any()


@pytest.mark.parametrize('detach', [True, False])
def test_who_learns(detach):
    """Easy to hard: the member with the smaller cross-entropy gets no gradient if detached."""
    logits = torch.tensor([[3.0, 0.0], [0.5, 0.0]], dtype=torch.double, requires_grad=True)
    samples = [DataSample().set_gt_label(0) for _ in range(2)]
    method = InstanceKD('head.fc', direction='easy_to_hard', detach=detach)
    built(method, [logits], []).compute([logits], [], view_of([[0, 1]], samples))['pair'].backward()
    assert logits.grad[1].any()
    assert logits.grad[0].any() != detach
    assert logits.grad[1, 0] < 0  # towards the surer one


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('direction', ['symmetric', 'easy_to_hard'])
def test_a_step_of_every_task(task, direction):
    """No teacher, no parameters; the student has its own keys and gets the gradients."""
    reference = make_student(task)
    model = make_student(task, **ips(task, direction=direction))
    assert not model.distiller.teachers and not list(model.distiller.parameters())
    assert list(model.state_dict()) == list(reference.state_dict())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in reference.state_dict().items())
    losses = losses_of(model, *preprocessed(model, task, num=4, paired=True))
    assert losses['distill.ips.loss_pair'] > 0
    assert losses['distill.ips.pairs'] > 0 and not losses['distill.ips.pairs'].requires_grad
    losses['distill.ips.loss_pair'].backward()
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    assert type(plain(model)) is type(reference)


def test_the_warning_of_a_small_first_value_names_the_exception():
    """An untrained student gives every image the same scores; the loss grows as it learns."""
    model = make_student('cls', **ips('cls', weight=1e-6))
    step = model.distiller.first_step = FirstStep()
    model(*preprocessed(model, 'cls', paired=True), mode='loss')
    row, _ = step.rows
    assert 0 < row.ratio < 1e-3 and 0 < row.share < 0.01
    (warning,) = step.warnings()
    assert 'unless it warms up or starts near zero by nature' in warning


def test_training_accuracy_stays_possible():
    """Labels stay hard, so mmpretrain can tell the accuracy on the training batch."""
    model = make_student('cls', **ips('cls'))
    model.head.cal_acc = True
    assert 'accuracy_top-1' in model(*preprocessed(model, 'cls', paired=True), mode='loss')


def test_bad_shapes():
    for tensors in ([random(2, 3, 4)], [random(2, 3), random(2, 3)], [], dict(a=[random(2, 3)])):
        with pytest.raises(ConfigError, match=r'^student: must be a tap of logits'):
            built(InstanceKD('x'), tensors, [])
    with pytest.raises(ConfigError, match=r'^num_classes: 7 channels are no multiple of 3'):
        built(InstanceKD('x', num_classes=3), [random(2, 7, 4, 4)], [])
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 16, 16)))] * 2
    method = built(InstanceKD('x', activation='sigmoid'), [random(2, 3, 4, 4)], [])
    with pytest.raises(ConfigError, match=r'^activation: '):
        method.compute([random(2, 3, 4, 4)], [], view_of([[0, 1]], samples))


@pytest.mark.parametrize('mixer', [None, dict(type='mmkd.MixUp')])
def test_without_a_mixer_that_makes_pairs(mixer):
    with pytest.raises(ConfigError, match=r'^model\.distill\.mixer: .*PatchSwap'):
        make_student('cls', **{**ips('cls'), 'mixer': mixer})
