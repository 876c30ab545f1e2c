"""MIX-KD against loops, as a part of a whole model, and what its traps would give."""

from __future__ import annotations

import copy

import pytest
import torch
from support import naive, naive_logits
from support.helpers import build
from support.labels import class_view
from support.tiny_models import make_student, model_config, preprocessed, teacher_config
from support.views import built, mixed_view, random
from torch import nn

from mmkd.functional import kl_divergence
from mmkd.methods import MixKD
from mmkd.methods.classification import class_labels
from mmkd.methods.mix_kd import unit_std
from mmkd.mixers import PatchMix, View
from mmkd.utils import ConfigError

TAPS = dict(student='head.fc', teacher='head.fc')
METHOD = dict(type='mmkd.MixKD', **TAPS)
MIXER = dict(type='mmkd.MixUp', partial=0.5)


def checked(student, teacher, loss: dict | None = None, **kwargs) -> MixKD:
    """Return a method that knows the head of a student, as the distiller makes it."""
    model = model_config('cls')
    model['head']['loss'] = loss or dict(type='CrossEntropyLoss')
    method = MixKD(**TAPS, **kwargs)
    method.build(build(model, 'mmpretrain'), student, teacher, {})
    return method.double()


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('classes', [3, 7])
def test_equals_loops(classes, soft):
    """With the head's own loss the sum is the published one."""
    student, teacher = 3 * random(4, classes), 5 * random(4, classes, seed=1)
    labels = torch.eye(classes).double()[[0, 1, classes - 1, 1]]
    if soft:
        labels = random(4, classes, seed=2).softmax(1)
    view = class_view(labels if soft else labels.argmax(1))
    method = checked([student], [teacher], alpha=0.9, gamma=0.1)
    losses = method.compute([student], [teacher], view)
    rows = [x.tolist() for x in (student, teacher, labels)]
    class_loss, divergence = naive_logits.mix_kd(*rows, alpha=0.9, gamma=0.1)
    own = naive_logits.cross_entropy(rows[0], rows[2])
    assert float(losses['class'] + own) == pytest.approx(class_loss, rel=1e-9)
    assert float(losses['kd']) == pytest.approx(divergence, rel=1e-9)
    assert float(method.monitored['class_term']) == pytest.approx(class_loss, rel=1e-9)


def test_two_classes_are_refused():
    rows = [random(3, 2)]
    with pytest.raises(ConfigError, match='at least 3 classes'):
        built(MixKD(**TAPS), rows, rows)


def test_direction_mean_and_scale():
    """KL(teacher || student), mean over images and not over classes, and no temperature."""
    student, teacher = 3 * random(4, 6), 5 * random(4, 6, seed=1)
    method = checked([student], [teacher], alpha=1.0)
    view = class_view([0, 1, 2, 3])
    loss = float(method.compute([student], [teacher], view)['kd'])
    p, q = (unit_std(x).softmax(1) for x in (teacher, student))
    assert loss == pytest.approx(float((p * (p / q).log()).sum() / 4))
    other_way = float((q * (q / p).log()).sum() / 4)
    assert abs(loss - other_way) > 1e-3
    # Neither scale matters, so there is none to divide by.
    for s, t in ((7 * student, teacher), (student, 0.1 * teacher)):
        assert float(method.compute([s], [t], view)['kd']) == pytest.approx(loss)


def test_the_loss_of_the_head_is_rescaled_whatever_it_is():
    """Label smoothing and the weight of the loss stay those of the student's config."""
    smooth = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', loss_weight=2.0)
    student, teacher = 3 * random(3, 5), random(3, 5, seed=1)
    method = checked([student], [teacher], loss=smooth, gamma=0.5)
    difference = float(method.compute([student], [teacher], class_view([4, 0, 2]))['class'])
    labels = (0.9 * torch.eye(5).double()[[4, 0, 2]] + 0.1 / 5).tolist()
    rescaled = [naive_logits.unit_std(row) for row in student.tolist()]
    expected = 0.5 * 2 * naive_logits.cross_entropy(rescaled, labels)
    expected -= 2 * naive_logits.cross_entropy(student.tolist(), labels)
    assert difference == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('mixer', [None, MIXER, dict(MIXER, partial_mode='with_replacement')])
def test_sum_and_gradient_of_a_whole_model(mixer, tmp_path):
    """What the student trains on is the published loss, its head's own loss cancels out."""
    teacher = teacher_config('cls', tmp_path)
    model = make_student('cls', teacher=teacher, methods=dict(m=METHOD), mixer=mixer)
    plain = make_student('cls')
    inputs, samples = preprocessed(model, 'cls', num=4)
    total, log = model.parse_losses(model(inputs, samples, mode='loss'))
    total.backward()
    assert log['distill.m.class_term'] > 0
    view = View.plain(inputs, samples)
    if mixer:
        view = model.distiller.mixer.mix(inputs, samples, 0)
    logits = plain(view.inputs, mode='tensor')
    with torch.no_grad():
        said = model.distiller.teachers[''].model(view.inputs, mode='tensor')
    labels = class_labels(view.data_samples, logits.shape[1], logits)
    rescaled = logits / logits.std(1, keepdim=True)
    target = (said / said.std(1, keepdim=True)).softmax(1)
    expected = -0.1 * (labels * rescaled.log_softmax(1)).sum(1).mean()
    expected = expected + 0.9 * (target * (target.log() - rescaled.log_softmax(1))).sum(1).mean()
    expected.backward()
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for (name, ours), theirs in zip(plain.named_parameters(), model.parameters()):
        torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_teacher_sees_the_mixed_images_by_default(tmp_path):
    mixer = dict(type='mmkd.MixUp', partial=0.5)
    model = make_student(
        'cls', teacher=teacher_config('cls', tmp_path), methods=dict(m=METHOD), mixer=mixer
    )
    inputs, samples = preprocessed(model, 'cls', num=4)
    view = model.distiller.mixer.mix(inputs, samples, 0)
    assert torch.equal(view.teacher_inputs, view.inputs)
    assert not torch.equal(view.inputs, inputs)


def test_a_teacher_of_clean_images_has_its_distributions_mixed():
    mixer = PatchMix(grid=(4, 4), num_images=2)
    view = mixed_view(4, mixer)
    student, teacher = random(4, 4), 3 * random(4, 4, seed=1)
    loss = checked([student], [teacher], alpha=1.0).compute([student], [teacher], view)['kd']
    share = naive.shares(naive.source_maps(mixer, 4, (16, 16)))
    probs = share @ unit_std(teacher).softmax(1)
    expected = [naive.kl(p, s, 1.0) for p, s in zip(probs.tolist(), unit_std(student).tolist())]
    assert float(loss) == pytest.approx(sum(expected) / 4, rel=1e-6)


def test_weight_zero_is_the_plain_student_and_a_copy_has_its_own_head(tmp_path):
    model = make_student(
        'cls',
        teacher=teacher_config('cls', tmp_path),
        methods=dict(m=dict(METHOD, weight=dict(value=1.0, begin=5))),
    ).eval()
    inputs, samples = preprocessed(model, 'cls')
    losses = model(inputs, samples, mode='loss')
    assert list(losses) == ['loss']
    plain = make_student('cls').eval()
    assert torch.equal(losses['loss'], plain(inputs, samples, mode='loss')['loss'])
    assert list(model.state_dict()) == list(plain.state_dict())
    copied = copy.deepcopy(model)
    assert copied.distiller.methods['m']._loss[0] is copied.head.loss_module
    assert copied.head.loss_module is not model.head.loss_module


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_finite_under_autocast(dtype, tmp_path):
    model = make_student(
        'cls', teacher=teacher_config('cls', tmp_path), methods=dict(m=METHOD), mixer=MIXER
    )
    inputs, samples = preprocessed(model, 'cls', num=4)
    with torch.autocast('cpu', dtype=dtype):
        losses = model(inputs, samples, mode='loss')
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # Head and method see the same rounded logits, so the head's own loss is gone from the sum.
    total = sum(float(v.detach()) for k, v in losses.items() if 'loss' in k)
    rest = losses['distill.m.class_term'] + losses['distill.m.loss_kd'].detach()
    assert total == pytest.approx(float(rest), rel=1e-4)


def test_a_student_without_a_class_loss_is_refused():
    """A detector, or a head whose loss is not one function of its logits."""
    rows = [random(2, 4)]
    with pytest.raises(ConfigError, match=r'head\.loss_module'):
        MixKD(**TAPS).build(nn.Sequential(), rows, rows, {})


@pytest.mark.parametrize('classes', [2, 3, 11])
def test_unit_std_equals_loops(classes):
    logits = 3 * random(5, classes)
    for row, rescaled in zip(logits.tolist(), unit_std(logits).tolist()):
        assert rescaled == pytest.approx(naive_logits.unit_std(row), rel=1e-9)
    assert torch.autograd.gradcheck(unit_std, logits.requires_grad_())


def test_gradients_flow_through_the_deviation():
    """The scale of the logits cannot change the loss, so the gradient is orthogonal to them.

    With a detached deviation it would not be.
    """
    student, teacher = (3 * random(5, 5, seed=i) for i in (0, 1))
    student.requires_grad_()
    loss = kl_divergence(unit_std(student), unit_std(teacher).softmax(1))
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.any()
    torch.testing.assert_close((gradient * student).sum(1), torch.zeros(5, dtype=torch.double))
    detached = student / student.std(1, keepdim=True).detach()
    loss = kl_divergence(detached, unit_std(teacher).softmax(1))
    (other,) = torch.autograd.grad(loss, student)
    assert ((other * student).sum(1).abs() > 1e-3).any()


def test_two_classes_teach_nothing_once_rescaled():
    student = random(4, 2).requires_grad_()
    gap = unit_std(student)[:, 0] - unit_std(student)[:, 1]
    torch.testing.assert_close(gap.abs(), torch.full((4,), 2**0.5, dtype=torch.double))
    (gradient,) = torch.autograd.grad(gap.sum(), student)
    assert gradient.abs().max() < 1e-12


def test_unit_std_of_equal_logits_is_finite():
    logits = torch.zeros(2, 3).requires_grad_()
    unit_std(logits).square().sum().backward()
    assert logits.grad.isfinite().all()
