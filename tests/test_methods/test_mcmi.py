"""MCMI: centroids of the training data, and a plain teacher at the end."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from support.helpers import make_batch
from support.labels import class_view
from support.runs import Stop, everything, run_config, train, without_luck
from support.tiny_models import losses_of, make_student
from support.views import built, random

from mmkd.methods import MCMI
from mmkd.methods.mcmi import conditional_mutual_information
from mmkd.models.first_step import FirstStep
from mmkd.utils import ConfigError

CLASSES = 5


def mcmi(**kwargs):
    return dict(type='mmkd.MCMI', student='head.fc', **kwargs)


def model_of(**kwargs):
    return make_student('cls', methods=dict(mcmi=mcmi(**kwargs)))


def loader(batches=3):
    """Return raw batches of four images, as a dataloader yields them."""
    return [make_batch('cls', 4, 32, num_classes=CLASSES, seed=seed) for seed in range(batches)]


def centroids_by_loops(model, batches):
    """Return the mean output of every class, image by image, batches in training mode."""
    sums, counts = [[0.0] * CLASSES for _ in range(CLASSES)], [0] * CLASSES
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        probs = model(data['inputs'], mode='tensor').softmax(1)
        for row, sample in zip(probs.tolist(), data['data_samples']):
            label = int(sample.gt_label)
            counts[label] += 1
            sums[label] = [a + b for a, b in zip(sums[label], row)]
    return [[v / max(n, 1) for v in row] for row, n in zip(sums, counts)], counts


@pytest.fixture
def warnings_of(monkeypatch):
    """What is logged as a warning."""
    said = []

    def note(message, logger=None, level=logging.INFO):
        if level == logging.WARNING:
            said.append(message)

    monkeypatch.setattr('mmkd.utils.errors.print_log', note)
    return said


# The loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('eps', [0.0, 0.2])
@pytest.mark.parametrize('soft', [False, True])
def test_loss_is_the_information_with_a_minus(soft, eps):
    logits = random(4, 3).requires_grad_()
    method = built(MCMI(student='head.fc', eps=eps), [logits], [])
    method.centroids.copy_(random(3, 3, seed=1).softmax(1))
    assert (method.centroids < 0.2).any()
    method.counts.fill_(2)
    labels = random(4, 3, seed=2).softmax(1) if soft else torch.eye(3).double()[[0, 2, 1, 2]]
    view = class_view(labels if soft else [0, 2, 1, 2])
    (loss,) = method.compute([logits], [], view).values()
    expected = conditional_mutual_information(logits, method.centroids, labels, eps)
    torch.testing.assert_close(loss, -expected)
    loss.backward()
    assert logits.grad.any() and not method.centroids.requires_grad


def test_the_step_raises_the_information():
    """Which is the point: the sign is right. The cross-entropy pulls the other way."""
    model = model_of()
    batches = loader(1)
    method = model.distiller.methods['mcmi']
    method.before_epoch(model, batches)
    data = model.data_preprocessor(batches[0], True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    values = []
    for _ in range(5):
        loss = model(**data, mode='loss')['distill.mcmi.loss_cmi']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(-float(loss.detach()))
    assert values[-1] > values[0] > 0


def test_weight_and_report():
    model = model_of(weight=0.25)
    method = model.distiller.methods['mcmi']
    method.before_epoch(model, loader())
    data = model.data_preprocessor(loader()[0], True)
    model.distiller.first_step = FirstStep()
    losses = losses_of(model, inputs=data['inputs'], samples=data['data_samples'])
    assert losses['distill.mcmi.loss_cmi'] < 0
    report = model.distiller.first_step.report({})
    assert 'distill.mcmi.loss_cmi' in report
    (row, _) = model.distiller.first_step.rows
    assert row.ratio < 0 < row.share < 0.01  # judged by its gradient, whatever its sign
    assert 'will hardly have an effect' in report


# The centroids ------------------------------------------------------------------------------------


def test_centroids_are_the_means_of_the_classes():
    """In training mode, of all batches, and the model is as it was."""
    model, batches = model_of().eval(), loader()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    method = model.distiller.methods['mcmi']
    torch.manual_seed(3)
    method.before_epoch(model, batches)
    drawn = torch.rand(1)
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))  # the global generator was left alone
    means, counts = centroids_by_loops(model.train(), batches)
    assert method.counts.tolist() == counts and min(counts) == 0 < max(counts)
    for c, count in enumerate(counts):
        expected = means[c] if count else [0.0] * CLASSES
        assert method.centroids[c].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('refresh', ['never', 'epoch'])
def test_refresh(refresh):
    model, batches = model_of(refresh=refresh), loader()
    method = model.distiller.methods['mcmi']
    method.before_epoch(model, batches)
    first = method.centroids.clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
    method.before_epoch(model, batches)
    assert torch.equal(method.centroids, first) == (refresh == 'never')
    assert method.counts.sum() == 12


def test_an_endless_dataloader_is_read_once_through():
    class Endless(list):
        def __iter__(self):
            while True:
                yield from super().__iter__()

    model = model_of()
    method = model.distiller.methods['mcmi']
    method.before_epoch(model, Endless(loader()))
    assert method.counts.sum() == 12


def test_without_a_weight_nothing_is_estimated():
    model = model_of(weight=0.0)
    model.distiller.methods['mcmi'].before_epoch(model, None)


def test_an_untrained_model_is_noticed(warnings_of):
    model = model_of()
    method = model.distiller.methods['mcmi']
    method.counts.fill_(1)
    method.centroids.copy_(torch.eye(CLASSES))
    method._report()
    assert not warnings_of
    method.centroids.copy_(torch.eye(CLASSES).roll(1, 0))
    method._report()
    assert 'load_from' in warnings_of[0]


def test_refusals():
    with pytest.raises(ConfigError, match=r'methods\.mcmi\.refresh'):
        model_of(refresh='always')
    with pytest.raises(ConfigError, match=r'methods\.mcmi\.eps: must be between 0 and 1'):
        model_of(eps=-1e-6)
    with pytest.raises(ConfigError, match=r'model\.distill\.mixer.*mcmi'):
        make_student('cls', mixer=dict(type='mmkd.MixUp'), methods=dict(mcmi=mcmi()))
    with pytest.raises(ConfigError, match=r'methods\.mcmi\.student.*logits'):
        make_student('cls', methods=dict(mcmi=dict(type='mmkd.MCMI', student='backbone')))
    model = model_of()
    data = model.data_preprocessor(loader()[0], True)
    with pytest.raises(ConfigError, match=r'default_hooks\.distill.*DistillHook'):
        model(**data, mode='loss')


# Runs ---------------------------------------------------------------------------------------------


def config(shapes, folder, epochs=3, **kwargs):
    distill = dict(methods=dict(mcmi=mcmi(**kwargs)))
    return without_luck(run_config('cls', shapes, folder, distill, epochs=epochs), 'cls')


@pytest.mark.parametrize('refresh', ['never', 'epoch'])
def test_resuming_equals_not_having_stopped(refresh, shapes, tmp_path):
    """Bit for bit; centroids that stay are not estimated again, from weights that moved on."""
    whole = everything(train(config(shapes, tmp_path / 'whole', refresh=refresh)))
    cut = Runner.from_cfg(config(shapes, tmp_path / 'cut', refresh=refresh))
    cut.register_hook(Stop(6))
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    MessageHub._instance_dict.clear()
    cfg = config(shapes, tmp_path / 'cut', refresh=refresh)
    cfg.resume = True
    got = everything(train(cfg))
    assert got.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(whole[name], got[name])] == []
    assert whole['distiller.methods.mcmi.counts'].sum() == 8
    assert 0 < whole['distiller.methods.mcmi.centroids'].max() <= 1


def test_the_checkpoint_is_a_plain_teacher(shapes, tmp_path):
    """It is loaded as one, and says what the trained model says."""
    runner = train(config(shapes, tmp_path, epochs=1))
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    assert list(content['state_dict']) == list(make_student('cls').state_dict())
    assert {k.rpartition('.')[2] for k in content['distiller']} == {'centroids', 'counts'}
    runner.cfg.dump(tmp_path / 'teacher.py')
    paths = dict(config=str(tmp_path / 'teacher.py'), checkpoint=str(tmp_path / 'epoch_1.pth'))
    kd = dict(type='mmkd.LogitKD', student='head.fc', teacher='head.fc')
    student = make_student('cls', teacher=paths, methods=dict(kd=kd))
    teacher = student.distiller.teachers['']
    assert teacher.load_report['missing'] == teacher.load_report['unexpected'] == 0
    assert not hasattr(teacher.model, 'distiller')
    data = runner.model.data_preprocessor(loader()[0], False)
    runner.model.eval()
    with torch.no_grad():
        outputs = [m(data['inputs'], mode='tensor') for m in (runner.model, teacher.model)]
    torch.testing.assert_close(*outputs)  # its batch norms are fused


def test_weight_zero_is_plain_fine_tuning(shapes, tmp_path):
    """Bit for bit: the estimate leaves no trace either."""
    plain = without_luck(run_config('cls', shapes, tmp_path / 'a', epochs=1), 'cls')
    states = [train(plain).model.state_dict()]
    for name, weight in (('b', 0.0), ('c', dict(value=0.15, begin=1000))):
        states.append(train(config(shapes, tmp_path / name, 1, weight=weight)).model.state_dict())
    for state in states[1:]:
        assert all(torch.equal(a, b) for a, b in zip(states[0].values(), state.values()))
