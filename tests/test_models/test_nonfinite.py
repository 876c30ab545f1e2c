"""Losses that are not finite: named, and handled by the policy of the config."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from support.runs import run_config
from support.tiny_models import LOGITS, MIMIC, TASKS, make_student, preprocessed, teacher_config

from mmkd.methods import Method
from mmkd.models import nonfinite
from mmkd.models.first_step import FirstStep
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, NonFiniteError, progress


@MODELS.register_module(force=True)
class Overflows(Method):
    """A loss that is infinite in some iterations though it reads finite maps."""

    def __init__(self, student, at=(), **kwargs):
        super().__init__(student, **kwargs)
        self.at = at
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.register_buffer('memory', torch.ones(3))

    def forward(self, student, teacher, view):
        loss = (self.scale * student[0]).square().mean() * 1e-3
        if progress()[0] in self.at:
            self.memory[1] = float('nan')
            loss = loss * float('inf')
        return dict(big=loss)


def distill_of(task, folder, policy='stop', **methods):
    return dict(
        teacher=teacher_config(task, folder),
        on_nonfinite=policy,
        methods=methods or dict(feature=MIMIC[task], logits=LOGITS[task]),
    )


def batch_of(model, task, **kwargs):
    inputs, samples = preprocessed(model, task, **kwargs)
    for number, sample in enumerate(samples):
        sample.set_metainfo(dict(img_path=f'data/img_{number}.png'))
    return inputs, samples


def poison_teacher(model, module):
    layer = model.distiller.teachers[''].model.get_submodule(module)
    with torch.no_grad():
        layer.bias[0] = float('nan')


def test_unknown_policy(tmp_path):
    with pytest.raises(ConfigError, match=r'^model\.distill\.on_nonfinite: .*skip_step'):
        make_student('cls', **distill_of('cls', tmp_path, policy='ignore'))


@pytest.mark.parametrize('task', TASKS)
def test_an_image_that_is_not_finite_is_named(task, tmp_path):
    """Method, term, iteration, tap, level, and the one image of three."""
    model = make_student(task, **distill_of(task, tmp_path, feature=MIMIC[task])).eval()
    inputs, samples = batch_of(model, task, num=3)
    inputs[1, :, 5:9, 5:9] = float('nan')
    MessageHub.get_current_instance().update_info('iter', 17)
    with pytest.raises(NonFiniteError) as caught:
        model(inputs, samples, mode='loss')
    text = str(caught.value)
    assert text.startswith('model.distill.methods.feature: its loss mimic is nan in iteration 17')
    tap = 'neck' if task == 'det' else 'backbone'
    level = 2 if task == 'seg' else 0
    for side in ('student', 'teacher'):
        assert f'{side} {tap}, level {level} (3, ' in text
    assert 'data/img_1.png' in text and 'img_0' not in text and 'img_2' not in text
    assert "the student's own loss is not finite either" in text
    assert 'on_nonfinite' in text


def test_the_level_of_a_teacher_is_named(tmp_path):
    model = make_student('det', **distill_of('det', tmp_path))
    poison_teacher(model, 'neck.fpn_convs.1.conv')
    with pytest.raises(NonFiniteError) as caught:
        model(*batch_of(model, 'det'), mode='loss')
    text = str(caught.value)
    assert 'teacher neck, level 1 (2, 16, ' in text
    assert 'teacher neck, level 0' not in text and 'student neck' not in text
    # The head is shared by the levels.
    assert 'teacher bbox_head.retina_cls, level 1 ' in text and 'retina_cls, level 0' not in text
    assert 'data/img_0.png, data/img_1.png' in text
    assert "student's own loss" not in text


def test_a_loss_that_overflows_by_itself(tmp_path):
    big = dict(type='mmkd.Overflows', student='head.fc', at=(0,))
    model = make_student('cls', **distill_of('cls', tmp_path, big=big))
    with pytest.raises(NonFiniteError, match=r'big: its loss big is inf(.|\n)*reads is finite'):
        model(*batch_of(model, 'cls'), mode='loss')


@pytest.mark.parametrize('task', TASKS)
def test_without_the_method_at_fault(task, tmp_path):
    """What remains is the rest, bit for bit, with every parameter in the graph."""
    big = dict(type='mmkd.Overflows', student='backbone', levels=(-1,), at=(0,))
    distill = distill_of(task, tmp_path, 'drop_kd', big=big, logits=LOGITS[task])
    model = make_student(task, **distill)
    alone = make_student(task, **distill_of(task, tmp_path, logits=LOGITS[task]))
    gradients = []
    for student in (model, alone):
        student.distiller.first_step = FirstStep()
        torch.manual_seed(0)  # dropout
        losses = student(*batch_of(student, task), mode='loss')
        sum(
            sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k
        ).backward()
        gradients.append({k: p.grad for k, p in student.named_parameters()})
    assert 'distill.big.loss_big' not in model.distiller._zero_losses({})
    first, second = gradients
    assert all(value is not None and value.isfinite().all() for value in first.values())
    assert all(torch.equal(value, first[name]) for name, value in second.items())
    assert first.keys() - second.keys() == {'distiller.methods.big.scale'}
    assert torch.equal(model.distiller.methods['big'].memory, torch.tensor([1.0, 0.0, 1.0]))
    # The report waits for a step in which everything works.
    assert not model.distiller.first_step.done and alone.distiller.first_step.done


def test_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(nonfinite, 'PATIENCE', 3)
    big = dict(type='mmkd.Overflows', student='head.fc', at=(0, 1, 3, 4, 5))
    model = make_student('cls', **distill_of('cls', tmp_path, 'drop_kd', big=big))
    batch = batch_of(model, 'cls')
    for iteration in range(5):
        MessageHub.get_current_instance().update_info('iter', iteration)
        model(*batch, mode='loss')
    MessageHub.get_current_instance().update_info('iter', 5)
    with pytest.raises(NonFiniteError, match='3 consecutive steps'):
        model(*batch, mode='loss')


class Event:
    """An event of a device that is a step behind the host."""

    def __init__(self):
        self.polls = 0

    def record(self):
        pass

    def query(self):
        self.polls += 1
        return self.polls > 1

    def synchronize(self):
        self.polls = 2


def test_on_a_device_the_flag_is_read_in_a_later_step(tmp_path, monkeypatch):
    """And before a checkpoint is written, whatever the device has done by then."""
    monkeypatch.setattr(nonfinite, 'reads_later', lambda tensor: True)
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    big = dict(type='mmkd.Overflows', student='head.fc', at=(1,))
    model = make_student('cls', **distill_of('cls', tmp_path, big=big))
    batch = batch_of(model, 'cls')
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        model(*batch, mode='loss')  # without an error, although step 1 is not finite
    message = r'big is inf in iteration 1\n.*reads is finite'
    with pytest.raises(NonFiniteError, match=message):
        copy.deepcopy(model.distiller.guard).flush()
    MessageHub.get_current_instance().update_info('iter', 2)
    with pytest.raises(NonFiniteError, match=message):
        model(*batch, mode='loss')


class Watch(Hook):
    """Notes parameters, momenta and buffers after every iteration."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = dict(runner.model.state_dict())
        state |= dict(runner.model.distiller.named_parameters())
        for name, parameter in runner.model.named_parameters():
            kept = runner.optim_wrapper.optimizer.state.get(parameter, {})
            state |= {f'{name} {k}': v for k, v in kept.items()}
        self.seen.append(copy.deepcopy(state))


def watched(task, shapes, folder, at, policy='skip_step', optimizer=None, **wrapper):
    big = dict(type='mmkd.Overflows', student='backbone', levels=(-1,), at=at)
    cfg = run_config(
        task, shapes, folder / 'run', distill_of(task, folder, policy, big=big, logits=LOGITS[task])
    )
    cfg.optim_wrapper.update(wrapper)
    if optimizer:
        cfg.optim_wrapper.optimizer = optimizer
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return watch.seen, runner


def changed(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('task', 'optimizer'), [('det', 'SGD'), ('seg', 'SGD'), ('cls', 'AdamW'), ('cls', 'SGD')]
)
def test_a_skipped_step_changes_nothing(task, optimizer, shapes, tmp_path):
    """Neither parameters nor momenta nor statistics, in spite of weight decay and momentum."""
    config = dict(type=optimizer, lr=0.01, weight_decay=0.1)
    config |= dict(momentum=0.9) if optimizer == 'SGD' else {}
    seen, runner = watched(task, shapes, tmp_path, (2, 3, 6), optimizer=config)
    for step in range(1, 8):
        names = changed(seen[step - 1], seen[step])
        assert bool(names) != (step in (2, 3, 6)), (step, names[:3])
    assert runner.iter == 8
    assert all(torch.isfinite(v).all() for v in seen[-1].values())


@pytest.mark.slow
def test_a_part_of_an_accumulated_batch_is_skipped(shapes, tmp_path):
    """The rest of it counts; where nothing remains the optimizer does not act."""
    seen, _ = watched('cls', shapes, tmp_path, (2, 4, 5), accumulative_counts=2)
    parameters = ('backbone.conv1.weight', 'head.fc.weight')
    moved = [
        any(name in changed(seen[step - 1], seen[step]) for name in parameters)
        for step in range(1, 8)
    ]
    assert moved == [True, False, True, False, False, False, True]


def test_a_run_stops_with_one_error_and_without_a_checkpoint(shapes, tmp_path):
    with pytest.raises(NonFiniteError, match='in iteration 5'):
        watched('cls', shapes, tmp_path, (5,), policy='stop')
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']


def test_scaled_gradients_that_overflow_are_the_scalers_business(tmp_path):
    """Nothing is reported, and a skipped step is no overflow that would halve the scale."""
    big = dict(type='mmkd.Overflows', student='head.fc', at=(1,))
    model = make_student('cls', **distill_of('cls', tmp_path, 'skip_step', big=big))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127, growth_interval=100)
    batch = batch_of(model, 'cls')
    scales = []
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        losses = model(*batch, mode='loss')
        before = {k: v.clone() for k, v in model.named_parameters()}
        # At this scale the gradients overflow in the first step; a moderate one for the second.
        if iteration:
            scaler.update(2.0**10)
        scaler.scale(1e6 * sum(v for k, v in losses.items() if 'loss' in k)).backward()
        assert model.distiller.guard.skipped == bool(iteration)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert all(torch.equal(v, before[k]) for k, v in model.named_parameters())
        scales.append(scaler.get_scale())
    assert scales == [2.0**126, 2.0**10]
