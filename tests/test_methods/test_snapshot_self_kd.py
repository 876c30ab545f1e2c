"""SnapshotSelfKD: the copy is the student of the epoch's begin."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from support.runs import run_config, train
from support.tiny_models import TASKS, make_student, preprocessed

from mmkd.datasets.shapes_scene import CLASSES
from mmkd.functional import class_rows, kl_divergence
from mmkd.methods.logit_kd import dense_binary_kl

TAPS = dict(det='bbox_head.retina_cls', seg='decode_head.conv_seg', cls='head.fc')


def distill(task: str, **arguments) -> dict:
    if task == 'det':
        arguments = dict(activation='sigmoid', num_classes=len(CLASSES), **arguments)
    method = dict(type='mmkd.SnapshotSelfKD', student=TAPS[task], **arguments)
    return dict(methods=dict(past=method))


def at_epoch(epoch: int, epochs: int = 4) -> None:
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', epoch)
    hub.update_info('max_epochs', epochs)


def outputs(model, task, inputs, samples) -> list[torch.Tensor]:
    """What the tap yields."""
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(TAPS[task]).register_forward_hook(
        lambda module, args, out: seen.append(out.detach())
    )
    with torch.no_grad():
        model(inputs, samples, mode='tensor')
    handle.remove()
    return seen


def moved(model) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)


@pytest.mark.parametrize('task', TASKS)
def test_equals_an_ordinary_teacher_with_the_weights_of_last_epoch(task):
    model = make_student(task, **distill(task, alpha=0.8, tau=2.0))
    for module in model.modules():  # dropout of the student itself is no matter here
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    inputs, samples = preprocessed(model, task, size=96 if task == 'seg' else 64)
    at_epoch(0)
    losses = model(inputs, samples, mode='loss')
    assert float(losses['distill.past.loss_kd']) == 0
    assert losses['distill.past.loss_kd'].requires_grad
    past = make_student(task)
    past.load_state_dict(model.state_dict(), strict=True)
    past.eval()
    for epoch in (1, 2):
        at_epoch(epoch)
        for _ in range(2):  # the copy stays the same during the epoch
            teacher = outputs(past, task, inputs, samples)
            twin = make_student(task)
            twin.load_state_dict(model.state_dict(), strict=True)
            for module in twin.modules():
                if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                    module.p = 0.0
            student = outputs(twin, task, inputs, samples)
            loss = model(inputs, samples, mode='loss')['distill.past.loss_kd']
            terms = []
            for s, t in zip(student, teacher, strict=True):
                if task == 'det':
                    rows = (class_rows(x, len(CLASSES)) for x in (s, t))
                    terms.append(dense_binary_kl(*rows, 2.0))
                else:
                    terms.append(kl_divergence(s, (t / 2).softmax(1), 2.0))
            expected = 0.8 * (epoch + 1) / 4 * torch.stack(terms).mean()
            torch.testing.assert_close(loss.detach(), expected, rtol=1e-4, atol=1e-6)
            moved(model)
        past.load_state_dict(model.state_dict(), strict=True)


def test_the_copy_gets_no_gradient_and_hides():
    model = make_student('det', **distill('det'))
    inputs, samples = preprocessed(model, 'det')
    for epoch in (0, 1):
        at_epoch(epoch)
        losses = model(inputs, samples, mode='loss')
        moved(model)
    losses = model(inputs, samples, mode='loss')
    losses['distill.past.loss_kd'].backward()
    (snapshot,) = model.distiller.methods['past']._snapshot
    assert all(p.grad is None and not p.requires_grad for p in snapshot.parameters())
    assert not snapshot.training and not hasattr(snapshot, 'distiller')
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    plain = make_student('det')
    assert list(model.state_dict()) == list(plain.state_dict())
    names = {name for name, _ in plain.named_parameters()}
    assert {name for name, _ in model.named_parameters()} == names
    saved = model.distiller.state_dict()
    prefix = 'methods.past.snapshot.'
    assert [k for k in saved if k.startswith(prefix)] == [prefix + k for k in plain.state_dict()]


def test_a_state_from_the_middle_of_an_epoch():
    """The copy is the one of the epoch's begin, not of the weights at hand."""
    model = make_student('cls', **distill('cls'))
    inputs, samples = preprocessed(model, 'cls')
    for epoch in (0, 1):
        at_epoch(epoch)
        model(inputs, samples, mode='loss')
        moved(model)
    weights = copy.deepcopy(model.state_dict())
    state = copy.deepcopy(model.distiller.state_dict())
    expected = model(inputs, samples, mode='loss')['distill.past.loss_kd']
    assert expected > 0
    resumed = make_student('cls', seed=3, **distill('cls'))
    resumed.distiller.load_state_dict(state)
    assert resumed.distiller.state_dict().keys() == state.keys()  # also before the first step
    resumed.load_state_dict(weights, strict=True)
    got = resumed(inputs, samples, mode='loss')['distill.past.loss_kd']
    assert torch.equal(got, expected)


@pytest.mark.parametrize('task', ['cls', 'det'])
def test_resuming_equals_not_having_stopped(task, shapes, tmp_path):
    def config(name):
        cfg = run_config(task, shapes, tmp_path / name, distill(task), epochs=3)
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform['type'] == 'RandomFlip':
                transform['prob'] = 0.0  # no OpenMMLab run restores the global generators
        return cfg

    whole = train(config('whole'))
    cfg = config('cut')
    cfg.load_from, cfg.resume = str(tmp_path / 'whole' / 'epoch_2.pth'), True
    resumed = train(cfg)
    for name in ('', 'distiller.'):
        parts = [r.model.distiller if name else r.model for r in (whole, resumed)]
        a, b = (part.state_dict() for part in parts)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
