"""What holds for every registered method, plug-in and mixer, see support/contract_cases.py."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pytest
import torch
from support.contract import Case
from support.contract_bad import BAD, bad_configs
from support.contract_cases import CASES
from torch import nn

from mmkd.methods import Method
from mmkd.methods.plugins import Plugin, build_method
from mmkd.methods.schedule import Schedule
from mmkd.mixers import Mixer
from mmkd.models.distiller import Distiller
from mmkd.models.first_step import FirstStep
from mmkd.registry import MODELS, arguments_of, build
from mmkd.utils import ConfigError, checks

each = pytest.mark.parametrize('case', CASES, ids=str)
each_type = pytest.mark.parametrize(
    'case', list({case.type: case for case in reversed(CASES)}.values())[::-1], ids=str
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where the teachers are."""
    return tmp_path_factory.mktemp('teachers')


@pytest.fixture(scope='module')
def student(folder):
    """Return a function that gives a copy of a case's student, as EMA makes one."""
    found = lru_cache(lambda case: case.student(case.distill(folder)))
    return lambda case: copy.deepcopy(found(case))


def plain(case: Case) -> nn.Module:
    """Return the student without distillation."""
    return copy.deepcopy(plain_model(case.task, case.family))


@lru_cache
def plain_model(task: str, family: str) -> nn.Module:
    return Case('', task, {}, family=family).plain()


def kd_losses(losses: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {
        k.partition('.loss_')[2]: v for k, v in losses.items() if k.startswith('distill.m.loss_')
    }


def total(losses: Mapping[str, Any]) -> torch.Tensor:
    """Return what the Runner minimizes."""
    values = [v for k, v in losses.items() if 'loss' in k]
    return sum(sum(v) if isinstance(v, list) else v for v in values)


def flat(state: Any, name: str = '') -> dict[str, Any]:
    """Return the leaves of nested dicts and lists."""
    if isinstance(state, Mapping):
        items = state.items()
    elif isinstance(state, (list, tuple)):
        items = enumerate(state)
    else:
        return {name: state}
    return {k: v for key, value in items for k, v in flat(value, f'{name}.{key}').items()}


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_everything_registered_is_in_the_table():
    bases = (Method, Plugin, Mixer)
    registered = {
        f'mmkd.{name}'
        for name, cls in MODELS.module_dict.items()
        if isinstance(cls, type) and issubclass(cls, bases) and cls.__module__.startswith('mmkd.')
    }
    assert registered == {case.type for case in CASES}
    assert {f'mmkd.{name.partition("-")[0]}' for name in BAD} <= registered


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=['bf16', 'fp16'])
@each
def test_steps_under_autocast(case, dtype, student):
    """Finite fp32 losses that train the student and every parameter of the method, nothing else."""
    model = student(case)
    names = list(plain(case).state_dict())
    assert list(model.state_dict()) == names
    for iteration in range(2):
        model.zero_grad()
        if dtype == torch.bfloat16 and iteration == 0:
            model.distiller.first_step = FirstStep()  # checks that losses reach the student
        with torch.autocast('cpu', dtype=dtype):
            losses = case.step(model, iteration)
        kd = kd_losses(losses)
        assert kd and all(v.dtype == torch.float32 and v.ndim == 0 for v in kd.values())
        assert all(torch.as_tensor(v).isfinite().all() for v in flat(losses).values())
        value = sum(kd.values())  # small ones would vanish in fp16 without scaling
        (value / value.detach().abs().clamp_min(1e-6)).backward(retain_graph=True)
        for name, parameter in model.distiller.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    state = flat(model.distiller.state_dict()).values()
    assert all(v.isfinite().all() for v in state if isinstance(v, torch.Tensor))
    assert any(v != 0 for v in kd.values())
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    total(losses).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    for teacher in model.distiller.teachers.values():
        assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())
        training = {type(m).__name__ for m in teacher.model.modules() if m.training}
        assert training <= {'DropPath'}
    assert list(model.state_dict()) == names


@each
def test_a_step_without_the_method_has_all_parameters_in_its_graph(case, student):
    """As DDP needs it."""
    model = student(case)
    model.distiller.methods['m'].schedule = Schedule.parse(dict(value=1.0, begin=1000), None, None)
    losses = case.step(model)
    assert not any(v for v in kd_losses(losses).values())
    total(losses).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@each_type
def test_weight_zero_is_the_plain_student(case, folder):
    distill = case.distill(folder)
    distill['methods']['m']['weight'] = 0.0
    model, twin = case.student(distill), plain(case)
    twin.load_state_dict(model.state_dict(), strict=True)
    losses = flat(case.step(model))
    torch.manual_seed(0)
    expected = flat(twin(*case.batch(twin, case.batches[0]), mode='loss'))
    assert losses.keys() == expected.keys()
    assert all(same(value, expected[name]) for name, value in losses.items())
    for net, found in ((model, losses), (twin, expected)):
        net.zero_grad()
        sum(v for k, v in found.items() if 'loss' in k).backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == {k for k, _ in twin.named_parameters()}
    assert all(torch.equal(p.grad, gradients[k]) for k, p in twin.named_parameters())


@pytest.mark.parametrize('case', [case for case in CASES if case.task != 'cls'], ids=str)
def test_a_first_step_without_objects_or_labels(case, student):
    """Such a step reads every tap as well, so none of them is reported as unused."""
    model = student(case)
    inputs, samples = case.batch(model, case.batches[0])
    for sample in samples:
        if case.task == 'det':
            sample.gt_instances = sample.gt_instances[:0]
        else:
            sample.gt_sem_seg.data.fill_(255)
    losses = kd_losses(model(inputs, samples, mode='loss'))
    assert losses and all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize('case', [case for case in CASES if case.same], ids=str)
def test_zero_where_the_student_equals_the_teacher(case, folder):
    distill = case.distill(folder, width=4)
    distill.pop('mixer', None)
    parts = [k for k, part in plain(case).named_children() if list(part.parameters())]
    model = case.student(dict(distill, inherit=parts)).eval()
    losses = kd_losses(case.step(model))
    assert set(case.same) <= set(losses)
    # DIST's ε stands beside the norms of flat columns.
    bound = 1e-3 if case.type == 'mmkd.DIST' else 1e-5
    for name in case.same:
        assert float(losses[name].detach()) == pytest.approx(0, abs=bound), name


@each
def test_resume_entry_continues_a_fresh_instance(case, student, tmp_path):
    """It holds only tensors and numbers, and makes the next step equal."""
    model, fresh = student(case), student(case)
    for iteration in range(2):
        total(case.step(model, iteration)).backward()
    torch.save(model.distiller.state_dict(), tmp_path / 'entry.pth')
    entry = torch.load(tmp_path / 'entry.pth', weights_only=True)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1.0)
    fresh.load_state_dict(model.state_dict(), strict=True)
    fresh.distiller.load_state_dict(entry)
    saved, loaded = flat(entry), flat(fresh.distiller.state_dict())
    assert saved.keys() == loaded.keys()
    assert all(same(value, loaded[name]) for name, value in saved.items())
    losses, expected = (flat(case.step(net, 2)) for net in (fresh, model))
    for name, value in expected.items():
        assert same(value, losses[name]), name


@pytest.mark.parametrize(
    ('case', 'changes', 'key'),
    bad_configs(),
    ids=lambda value: str(value) if isinstance(value, (str, Case)) else '',
)
def test_bad_arguments(case, changes, key, folder):
    path = '.'.join(['model.distill', *case.path, *([key] if key else [])])
    with pytest.raises(ConfigError, match=f'^{re.escape(path)}: '):
        Distiller(plain(case), **case.distill(folder, **changes))


@each_type
def test_every_validated_argument_is_refused_by_its_key(case, folder, monkeypatch):
    """Values that a validator of the constructor refuses give an error that names the argument."""
    cls = MODELS.get(case.type)
    base = next(base for base in (Method, Plugin, Mixer) if issubclass(cls, base))
    files = {inspect.getfile(c) for c in cls.__mro__ if c.__module__.startswith('mmkd.')}
    seen: dict[str, Any] = {}
    checked = checks._checked

    def record(argument, valid, text):
        if sys._getframe(2).f_code.co_filename in files:
            seen.update(dict.fromkeys(argument, valid))
        return checked(argument, valid, text)

    node = case.distill(folder)
    for name in case.path:
        node = node[name]
    make = build_method if base is Method else lambda config, key: build(config, base, key)
    monkeypatch.setattr(checks, '_checked', record)
    make(copy.deepcopy(node), 'x')
    monkeypatch.undo()
    for name, valid in seen.items():
        known = {a for base in cls.__mro__[:-1] for a in arguments_of(base)}
        assert name in known, f'{name} is a key of the error and no argument'
        argument = (cls.__name__, name)
        if name not in arguments_of(cls) or argument == ('PKD', 'normalize'):
            continue  # fixed by a subclass
        wrong = [v for v in (-1, 0, 1.5, True, float('nan'), 'nonsense') if not valid(v)]
        if argument == ('FeatureMimic', 'normalize'):
            wrong.remove(True)  # deprecated
        assert wrong, f'{name}: every value is accepted'
        for value in wrong:
            with pytest.raises(ConfigError, match=rf'^x\.{name}: must '):
                make(dict(copy.deepcopy(node), **{name: value}), 'x')
