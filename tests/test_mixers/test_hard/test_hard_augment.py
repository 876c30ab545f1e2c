"""Learned hard augmentation: the game between augmentor and student."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from support.naive import affine_transform
from support.runs import run_config, train
from support.tiny_models import LOGITS, losses_of, make_student, preprocessed, teacher_config
from support.views import random

from mmkd.functional import kl_divergence
from mmkd.mixers import MixUp
from mmkd.mixers.hard.affine import affine_matrix, affine_warp
from mmkd.mixers.hard.hard_augment import disagreement
from mmkd.models import distilled
from mmkd.utils import ConfigError, step_generator

AFFINE = dict(type='mmkd.AffineAugmentor', hidden=4)
MIXTURE = dict(type='mmkd.MixtureAugmentor')
FREE = dict(type='mmkd.AffineAugmentor', hidden=0)
BLEND = dict(type='mmkd.BlendAugmentor', hidden=0)
FAMILIES = [AFFINE, MIXTURE]
MIXER = 'model.distill.mixer'


def mixer_config(task='cls', augmentor=AFFINE, **kwargs):
    taps = {side: LOGITS[task][side] for side in ('student', 'teacher')}
    defaults = dict(interval=1, optimizer=dict(type='Adam', lr=0.05), **taps)
    return dict(type='mmkd.HardAugment', augmentor=augmentor, **{**defaults, **kwargs})


def distill_of(folder, task='cls', teacher=None, **kwargs):
    return dict(
        teacher=teacher or teacher_config(task, folder),
        mixer=mixer_config(task, **kwargs),
        methods=dict(logits=copy.deepcopy(LOGITS[task])),
    )


def built(folder, task='cls', **kwargs):
    """Return a student, its mixer and a batch."""
    model = make_student(task, **distill_of(folder, task, **kwargs))
    inputs, samples = preprocessed(model, task, num=4, size=64 if task == 'seg' else 32)
    if task == 'cls':  # noise would be smoothed by any sampling; fresh heads say next to nothing
        drawn = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        inputs = F.interpolate(drawn, size=(32, 32), mode='bilinear', align_corners=True)
        with torch.no_grad():
            for net in (model, model.distiller.teachers[''].model):
                net.head.fc.weight.mul_(50)
    return model, model.distiller.mixer, inputs, samples


def state_of(mixer):
    return {k: v.clone() for k, v in mixer.learner.module.state_dict().items()}


def disagree(model, inputs, samples):
    """Return the disagreement of the plain models, as loops over images and classes."""
    teacher = model.distiller.teachers[''].model
    student = copy.deepcopy(model).eval()
    with torch.no_grad():
        s, t = (m.head(m.extract_feat(inputs)) for m in (student, teacher))
    values = []
    for n in range(len(inputs)):
        p, q = ((z[n].double() / 4).softmax(0) for z in (t, s))
        values.append(16 * float(sum(a * math.log(a / b) for a, b in zip(p, q))))
    return values


@pytest.mark.parametrize('augmentor', FAMILIES, ids=['affine', 'mixture'])
def test_the_augmentor_moves_and_nobody_else_does(augmentor, tmp_path):
    """A turn of the augmentor changes its own parameters; no statistics, modes or gradients."""
    model, mixer, inputs, samples = built(tmp_path, augmentor=augmentor)
    model.backbone.layer1.eval()  # as a configuration may freeze it
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    teacher = model.distiller.teachers[''].model
    theirs = copy.deepcopy(teacher.state_dict())
    start = state_of(mixer)
    for iteration in range(3):
        mixer.learn(model, inputs, samples, iteration)
    assert any((v != start[k]).any() for k, v in state_of(mixer).items())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(v, theirs[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None for m in (model, teacher) for p in m.parameters())
    assert [m.training for m in model.modules()] == modes


def test_the_students_optimizer_never_sees_it(tmp_path):
    model = make_student('cls', **distill_of(tmp_path))
    names = {name for name, _ in model.named_parameters()}
    assert names == {name for name, _ in make_student('cls').named_parameters()}
    known = {id(p) for p in model.parameters()}
    assert not known & {id(p) for p in model.distiller.mixer.learner.module.parameters()}
    assert list(model.state_dict()) == list(make_student('cls').state_dict())


def test_the_first_step_equals_the_definition(tmp_path):
    """A step of SGD climbs the gradient that finite differences of the plain models give."""
    optimizer = dict(type='SGD', lr=1.0)
    model, mixer, inputs, samples = built(tmp_path, augmentor=FREE, optimizer=optimizer)
    size = tuple(inputs.shape[-2:])
    mixer.learn(model, inputs, samples, 5)
    expected = sum(disagree(model, inputs, samples)) / 4
    assert float(mixer.monitored['disagreement']) == pytest.approx(expected, rel=1e-4)

    def value(mean):
        drawn = mean.tanh().expand(4, 4)
        matrix = affine_matrix(
            0.3 * drawn[:, :2], math.radians(30) * drawn[:, 2], 1 + 0.3 * drawn[:, 3], size
        )
        return sum(disagree(model, affine_warp(inputs, matrix), samples)) / 4

    # One-sided slopes around the identity differ (interpolation has a kink there), so elsewhere.
    with torch.no_grad():
        mixer.learner.module.policy.mean.copy_(torch.tensor([0.11, -0.07, 0.21, 0.13]))
        mixer.learner.module.policy.std.zero_()
    start = mixer.learner.module.policy.mean.detach().clone()
    mixer.learn(model, inputs, samples, 6)
    found = mixer.learner.module.policy.mean.detach() - start
    largest = float(found.abs().max())
    for k in range(4):
        step = torch.zeros(4)
        step[k] = 2e-3
        slope = (value(start + step) - value(start - step)) / 4e-3
        assert float(found[k]) == pytest.approx(slope, rel=0.1, abs=0.02 * largest)
    assert largest > 1e-3


def test_gradients_reach_the_images_through_the_teacher(tmp_path):
    model, mixer, inputs, samples = built(tmp_path)
    inputs = inputs.clone().requires_grad_()
    own, other = mixer.logits(model, inputs, samples)
    (through_teacher,) = torch.autograd.grad(other.square().sum(), inputs, retain_graph=True)
    teacher = model.distiller.teachers[''].model
    expected = teacher.head(teacher.extract_feat(inputs))
    torch.testing.assert_close(other, expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), inputs)
    assert through_teacher.abs().max() > 0
    torch.testing.assert_close(through_teacher, wanted)
    assert torch.autograd.grad(own.sum(), inputs)[0].abs().max() > 0
    # In a training step of the student the teacher has no graph.
    read = model.distiller.teachers[''](inputs, samples)
    assert not any(t.requires_grad for kept in read.values() for t in kept)


def test_the_teacher_keeps_its_own_normalization_and_precision(tmp_path):
    """Gradients pass what turns the student's inputs into the teacher's."""
    own = dict(
        type='ClsDataPreprocessor', num_classes=5, mean=[10, 20, 30], std=[2, 3, 4], to_rgb=False
    )
    teacher = teacher_config('cls', tmp_path, data_preprocessor=own)
    model, mixer, inputs, samples = built(tmp_path, teacher=dict(teacher, precision='bf16'))
    assert model.distiller.teachers[''].renormalize is not None
    inputs = inputs.clone().requires_grad_()
    _, other = mixer.logits(model, inputs, samples)
    assert other.dtype == torch.float32
    assert torch.autograd.grad(other.sum(), inputs)[0].abs().max() > 0
    mixer.learn(model, inputs.detach(), samples)
    assert all(v.isfinite().all() for v in state_of(mixer).values())


def test_the_augmentor_makes_them_disagree(tmp_path):
    color = dict(type='mmkd.ColourAugmentor', hidden=4)
    model, mixer, inputs, samples = built(tmp_path, prob=1.0, augmentor=color)
    for iteration in range(15):
        mixer.learn(model, inputs, samples, iteration)
    hard = [sum(disagree(model, mixer.mix(inputs, samples, i).inputs, samples)) for i in range(5)]
    assert sum(hard) / 5 > 1.1 * sum(disagree(model, inputs, samples))


def test_confidence_keeps_the_teacher_sure(tmp_path):
    """With a large weight the augmentor lowers the teacher's loss instead."""
    losses = {}
    optimizer = dict(type='Adam', lr=0.02)
    for confidence in (0.0, 100.0):
        model, mixer, inputs, samples = built(
            tmp_path, prob=1.0, confidence=confidence, optimizer=optimizer
        )
        for iteration in range(20):
            mixer.learn(model, inputs, samples, iteration)
        teacher = model.distiller.teachers[''].model
        labels = torch.cat([s.gt_label for s in samples])
        with torch.no_grad():
            hard = mixer.mix(inputs, samples, 99).inputs
            logits = teacher.head(teacher.extract_feat(hard))
        losses[confidence] = float(F.cross_entropy(logits, labels))
    assert losses[100.0] < losses[0.0]


def test_confidence_with_soft_labels_and_without_any(tmp_path):
    model, mixer, inputs, samples = built(tmp_path, augmentor=BLEND, confidence=1.0)
    with torch.no_grad():
        mixer.learner.module.policy.mean.fill_(0.5)
    mixer.learn(model, inputs, samples)
    assert (mixer.learner.module.policy.mean != 0.5).all()
    with torch.no_grad():
        mixer.learner.module.policy.mean.zero_()
        mixer.learner.module.policy.std.zero_()
    with pytest.raises(ConfigError, match=r'^confidence: needs class labels'):
        mixer.learn(model, inputs, None)


def test_thresholds_switch_who_learns(tmp_path, monkeypatch):
    """Until above l_max, then not until below l_min; and the first word of each is counted."""
    model, mixer, inputs, samples = built(tmp_path, thresholds=(1.0, 2.0))
    script = [1.5, 1.9, 2.5, 1.5, 1.1, 0.9, 1.5, 2.1, 0.5, 0.5]
    expected = [1, 1, 1, 0, 0, 0, 1, 1, 0, 1]
    found, moved = [], []
    values = iter(script)

    def scripted(own, other, tau):
        apart = disagreement(own, other, tau)
        return apart - apart.detach() + next(values)

    monkeypatch.setattr('mmkd.mixers.hard.hard_augment.disagreement', scripted)
    for iteration in range(len(script)):
        before = state_of(mixer)
        mixer.learn(model, inputs, samples, iteration)
        found.append(int(mixer.monitored['learning']))
        moved.append(int(any((v != before[k]).any() for k, v in state_of(mixer).items())))
    assert found == expected
    assert moved == expected


def test_interval_and_frozen(tmp_path):
    model, mixer, inputs, samples = built(tmp_path, interval=3)
    moved = []
    for iteration in range(7):
        before = state_of(mixer)
        mixer.learn(model, inputs, samples, iteration)
        moved.append(any((v != before[k]).any() for k, v in state_of(mixer).items()))
    assert moved == [True, False, False, True, False, False, True]
    model, mixer, inputs, samples = built(tmp_path, optimizer=None)
    before = state_of(mixer)
    mixer.learn(model, inputs, samples)
    assert all(torch.equal(v, before[k]) for k, v in state_of(mixer).items())


@pytest.mark.slow
@pytest.mark.parametrize('augmentor', FAMILIES, ids=['affine', 'mixture'])
def test_frozen_at_the_identity_equals_plain_kd(augmentor, shapes, tmp_path):
    """Bit for bit, through a whole run; and with a learning augmentor it does not."""
    states = {}
    for name in ('plain', 'frozen', 'learning'):
        optimizer = None if name == 'frozen' else dict(type='Adam', lr=0.05)
        distill = distill_of(tmp_path, augmentor=augmentor, prob=1.0, optimizer=optimizer)
        if name == 'plain':
            distill.pop('mixer')
        steps = dict(train_cfg=dict(by_epoch=False, max_iters=3))
        runner = train(run_config('cls', shapes, tmp_path / name, distill, **steps))
        states[name] = runner.model.state_dict()
    differing = [k for k, v in states['plain'].items() if not torch.equal(v, states['frozen'][k])]
    assert differing == []
    assert any(not torch.equal(v, states['learning'][k]) for k, v in states['plain'].items())


@pytest.mark.slow
def test_resuming_equals_not_having_stopped(shapes, tmp_path):
    """Student, augmentor, its momenta, and whose turn it is."""

    def config(name):
        distill = distill_of(tmp_path, augmentor=MIXTURE, prob=1.0, thresholds=(1e-6, 2e-6))
        cfg = run_config('cls', shapes, tmp_path / name, distill, epochs=2)
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform['type'] == 'RandomFlip':
                transform['prob'] = 0.0  # no OpenMMLab run restores the global generators
        return cfg

    whole = train(config('whole'))
    cfg = config('resumed')
    cfg.load_from, cfg.resume = str(tmp_path / 'whole' / 'epoch_1.pth'), True
    resumed = Runner.from_cfg(cfg)
    assert resumed.model.distiller.mixer.learning
    resumed.train()
    a, b = (run.model.distiller.mixer for run in (whole, resumed))
    assert not b.learning  # the thresholds are far below: after one step it pauses for ever
    start = make_student('cls', **distill_of(tmp_path, augmentor=MIXTURE)).distiller.mixer
    changed = [k for k, v in state_of(a).items() if not torch.equal(v, state_of(start)[k])]
    assert changed
    assert all(torch.equal(v, state_of(b)[k]) for k, v in state_of(a).items())
    students = [run.model.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(v, students[1][k]) for k, v in students[0].items())


def test_a_share_of_the_images_is_augmented(tmp_path):
    _, mixer, inputs, samples = built(tmp_path, augmentor=FREE, prob=0.5)
    with torch.no_grad():
        mixer.learner.module.policy.mean.fill_(0.4)
    count = 0
    for iteration in range(40):
        view = mixer.mix(inputs, samples, iteration)
        for n, hard in enumerate(view.hard.tolist()):
            assert torch.equal(view.inputs[n], inputs[n]) != hard
        count += int(view.hard.sum())
        assert view.teacher_inputs is view.inputs and view.teacher_on_mixed
        again = mixer.mix(inputs, samples, iteration)
        assert torch.equal(again.inputs, view.inputs)
        assert view.data_samples is samples  # labels of images stay
    assert 60 < count < 100


def test_blended_images_have_soft_labels(tmp_path):
    _, mixer, inputs, samples = built(tmp_path, augmentor=BLEND, prob=0.7)
    with torch.no_grad():
        mixer.learner.module.policy.mean.fill_(0.5)
        mixer.learner.module.policy.std.fill_(0.5)
    view = mixer.mix(inputs, samples, 1)
    _, other = view.parts
    assert 0 < len(view.hard.nonzero()) < 4
    for n in range(4):
        share, partner = float(other.weight[n].mean()), int(other.source[n])
        assert (share > 0) == bool(view.hard[n]) or share == 0
        label = torch.zeros(5)
        label[samples[n].gt_label] += 1 - share
        label[samples[partner].gt_label] += share
        torch.testing.assert_close(view.data_samples[n].gt_score, label)
        expected = (1 - share) * inputs[n] + share * inputs[partner]
        torch.testing.assert_close(view.inputs[n], expected)
    assert other.weight.amax() > 0 and view.simulate(inputs) is inputs
    student = make_student('cls')
    student.head.cal_acc = True
    with pytest.raises(ConfigError, match=r'^model\.head\.cal_acc: '):
        distilled(student, **distill_of(tmp_path, augmentor=MIXTURE))
    distilled(student, **distill_of(tmp_path, augmentor=AFFINE))


def test_label_maps_move_with_their_images(tmp_path):
    """Nearest pixel in loops; what comes from outside is ignored."""
    augmentor = dict(FREE, padding='zeros')
    model, mixer, inputs, samples = built(tmp_path, 'seg', augmentor=augmentor, prob=1.0)
    with torch.no_grad():
        mixer.learner.module.policy.mean.copy_(torch.tensor([0.5, -0.4, 0.6, 0.3]))
    before = [s.gt_sem_seg.data.clone() for s in samples]
    view = mixer.mix(inputs, samples)
    dx, dy, turn, scale = torch.tensor([0.5, -0.4, 0.6, 0.3]).tanh().tolist()
    drawn = 0.3 * dx, 0.3 * dy, math.radians(30) * turn, 1 + 0.3 * scale
    size = tuple(inputs.shape[-2:])
    # Where every pixel comes from, read off images of their own coordinates.
    rows, columns = torch.meshgrid(*(torch.arange(n).double() for n in size), indexing='ij')
    places = affine_transform(torch.stack([rows, columns]), *drawn, 'border')
    compared = 0
    for n, sample in enumerate(view.data_samples):
        labels = sample.gt_sem_seg.data
        assert labels.dtype == before[n].dtype and (labels == 255).any()
        for y in range(0, size[0], 3):
            for x in range(0, size[1], 3):
                row, column = places[:, y, x].tolist()
                inside = 0.6 < row < size[0] - 1.6 and 0.6 < column < size[1] - 1.6
                if inside and all(abs(v % 1 - 0.5) > 1e-3 for v in (row, column)):
                    assert labels[0, y, x] == before[n][0, round(row), round(column)]
                    compared += 1
        assert torch.equal(samples[n].gt_sem_seg.data, before[n])
    assert compared > 400
    for iteration in range(2):
        mixer.learn(model, inputs, samples, iteration)
    assert all(v.isfinite() for v in losses_of(model, inputs, samples).values())


def test_detectors_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=rf'^{MIXER}\.type: .* is for classifiers'):
        make_student('det', **distill_of(tmp_path, 'det'))


def test_boxes_do_not_move(tmp_path):
    """Also where a detector has logits that can be compared."""
    _, mixer, _, _ = built(tmp_path)
    detector = make_student('det')
    inputs, samples = preprocessed(detector, 'det')
    with pytest.raises(ConfigError, match=r'^augmentor: boxes are not moved'):
        mixer.mix(inputs, samples)


def test_without_a_teacher(tmp_path):
    distill = dict(distill_of(tmp_path), teacher=None, methods=dict())
    with pytest.raises(ConfigError, match=rf'^{MIXER}\.teacher: .*set model.distill.teacher'):
        make_student('cls', **distill)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_steps_under_autocast(dtype, tmp_path):
    model, mixer, inputs, samples = built(tmp_path, augmentor=MIXTURE, prob=1.0)
    start = state_of(mixer)
    with torch.autocast('cpu', dtype=dtype):
        losses = model(inputs, samples, mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert {'mixer.disagreement', 'mixer.change'} <= set(losses)
    assert all(v.isfinite().all() for v in losses.values())
    assert all(v.isfinite().all() and v.dtype == torch.float32 for v in state_of(mixer).values())
    assert any((v != start[k]).any() for k, v in state_of(mixer).items())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_other_mixers_learn_nothing(tmp_path):
    mixer = MixUp()
    assert mixer.learn(None, torch.zeros(2, 3, 4, 4), None) is None and mixer.monitored == {}
    assert step_generator(0, 0, 1).initial_seed() != step_generator(0, 0, 0).initial_seed()


@pytest.mark.parametrize('shape', [(3, 2), (3, 5), (2, 4, 3, 2)])
def test_disagreement_is_the_mean_divergence(shape):
    student, teacher = (random(*shape, seed=i) for i in (0, 1))
    expected = kl_divergence(student, (teacher / 3.0).softmax(1), 3.0)
    torch.testing.assert_close(disagreement(student, teacher, 3.0), expected, rtol=0, atol=1e-9)
    assert not disagreement(teacher, teacher, 1.0)
    pair = student.requires_grad_(), teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: disagreement(s, t, 3.0), pair)


def test_disagreement_with_a_certain_teacher_has_a_finite_gradient():
    """Through probabilities it would be 0 / 0 where the softmax underflows."""
    teacher = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    disagreement(torch.zeros(1, 3), teacher, 1.0).backward()
    assert teacher.grad.isfinite().all()
