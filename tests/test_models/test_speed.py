"""The teacher's fast forms read the same as its slow one."""

from __future__ import annotations

import copy

import pytest
import torch
from support.tiny_models import (
    LOGITS,
    MIMIC,
    TASKS,
    losses_of,
    make_student,
    preprocessed,
    teacher_config,
)
from torch import nn

from mmkd.models import Teacher
from mmkd.models.speed import (
    Form,
    Trial,
    compile_between,
    fastest,
    forms_for,
    largest_error,
    try_forms,
    whole_pieces,
)
from mmkd.probe import probe_batch
from mmkd.taps import Tap
from mmkd.utils import ConfigError

SLOW = dict(fuse_conv_bn=False)


def step_of(task, folder, **keys):
    """Return a distilled student and the losses of its first step."""
    methods = dict(feature=dict(MIMIC[task], normalize='channel'), plain=MIMIC[task])
    # A segmenter's dropout in front of the logits draws anew; an untrained detector's logits are so
    # much alike that their divergence is rounding.
    if task == 'cls':
        methods['logits'] = LOGITS[task]
    model = make_student(
        task, teacher={**teacher_config(task, folder), **keys}, methods=methods, inherit=()
    )
    return model, losses_of(model, *preprocessed(model, task))


def teacher_of(folder, taps, task='cls', **keys):
    """Return a probed teacher with these taps, and what they yield on a batch."""
    teacher = Teacher(**teacher_config(task, folder), **keys)
    teacher.open_taps({Tap(**tap): 'key' for tap in taps})
    inputs, samples = probe_batch(teacher.model, (64, 64))
    teacher.probe(inputs, samples)
    teacher.speed_up()
    inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    return teacher, teacher(inputs, samples)


@pytest.fixture
def said(monkeypatch):
    """Return the list of what the teacher logs."""
    texts = []
    monkeypatch.setattr('mmkd.utils.errors.print_log', lambda text, **_: texts.append(text))
    return texts


def assert_same(expected, found, rtol):
    assert expected.keys() == found.keys() and expected
    for tap, kept in expected.items():
        assert len(kept) == len(found[tap])
        for a, b in zip(kept, found[tap]):
            assert b.dtype == torch.float32 and not b.requires_grad
            assert float((a - b).norm()) <= rtol * float(a.norm())


@pytest.mark.parametrize('task', TASKS)
def test_losses_of_the_exact_forms(task, tmp_path):
    """Fused, channels last and both, against neither."""
    _, expected = step_of(task, tmp_path, **SLOW)
    kd = [name for name in expected if name.startswith('distill.')]
    assert len(kd) >= 2
    forms = (dict(), dict(channels_last=True), dict(**SLOW, channels_last=True))
    for keys in forms:
        model, losses = step_of(task, tmp_path, **keys)
        assert bool(model.distiller.teachers[''].fused) == ('fuse_conv_bn' not in keys)
        for name in kd:
            assert float(losses[name]) == pytest.approx(float(expected[name]), rel=1e-5), name


@pytest.mark.parametrize('task', TASKS)
def test_losses_in_bf16(task, tmp_path):
    _, expected = step_of(task, tmp_path, **SLOW)
    _, losses = step_of(task, tmp_path, precision='bf16', channels_last=True)
    for name in expected:
        if name.startswith('distill.'):
            assert float(losses[name]) == pytest.approx(float(expected[name]), rel=0.02), name
            assert float(losses[name]) != float(expected[name])


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_inherited_weights_are_those_of_the_checkpoint(precision, tmp_path):
    """Neither fused nor rounded, although the teacher runs so."""
    config = teacher_config('cls', tmp_path, width=4)
    model = make_student(
        'cls',
        teacher=dict(config, precision=precision),
        inherit='backbone',
        methods=dict(feature=MIMIC['cls']),
    )
    assert model.distiller.teachers[''].fused
    for name, value in torch.load(config['checkpoint'])['state_dict'].items():
        if name.startswith('backbone.'):
            assert torch.equal(model.state_dict()[name], value), name


def test_speed_auto_chooses_and_says_so(tmp_path):
    keys = dict(speed='auto', max_error=0.05)
    taps = [dict(module='backbone'), dict(module='head.fc')]
    _, expected = teacher_of(tmp_path, taps)
    teacher, found = teacher_of(tmp_path, taps, **keys)
    assert [t.form for t in teacher.trials] == forms_for(torch.device('cpu'))
    errors = {str(t.form): t.error for t in teacher.trials}
    assert errors['fp32'] == 0 and errors['fp32, channels last'] < 1e-5
    assert 1e-4 < errors['bf16'] < 0.05
    chosen = min((t for t in teacher.trials if t.error <= 0.05), key=lambda t: t.seconds)
    assert teacher.form == chosen.form and next(teacher.model.parameters()).dtype == teacher.dtype
    assert_same(expected, found, 0.05)
    lines = teacher.describe().splitlines()
    assert lines[0].startswith(f'{chosen.form}, ') and len(lines) == 5
    assert sum('<- chosen' in line for line in lines) == 1


def test_the_fastest_of_those_that_are_exact_enough():
    trials = [
        Trial(Form(), 3.0, 0.0),
        Trial(Form('bf16'), 1.0, 0.03),
        Trial(Form('fp32', True), 2.0, 1e-6),
    ]
    assert fastest(trials, 0.02).form == Form('fp32', True)
    assert fastest(trials, 0.03).form == Form('bf16')
    assert fastest(trials, 0.0).form == Form()


def test_forms_without_a_kernel_are_left_out():
    def run(model, form):
        if form.precision == 'bf16':
            raise RuntimeError('not implemented for BFloat16')
        return [model(form.convert(torch.ones(1, 3, 4, 4))).detach().float()]

    model = nn.Conv2d(3, 2, 1)
    before = copy.deepcopy(model.state_dict())
    trials = try_forms(model, run, torch.device('cpu'))
    assert [str(t.form) for t in trials] == ['fp32', 'fp32, channels last']
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_error_that_is_not_finite_is_the_largest():
    a = [torch.ones(3), torch.zeros(2)]
    assert largest_error(a, [torch.ones(3), torch.zeros(2)]) == 0
    assert largest_error(a, [torch.tensor([1.0, 1.0, float('nan')]), torch.zeros(2)]) == float(
        'inf'
    )
    assert largest_error([torch.ones(4)], [torch.full((4,), 1.5)]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    'keys',
    [
        dict(speed='fast'),
        dict(speed='auto', precision='bf16'),
        dict(speed='auto', channels_last=True),
        dict(max_error=-1.0),
    ],
    ids=str,
)
def test_keys_that_make_no_sense(keys, tmp_path):
    with pytest.raises(ConfigError, match=r'model\.distill\.teacher\.(speed|max_error)'):
        Teacher(**teacher_config('cls', tmp_path), **keys)


def test_the_largest_pieces_without_a_tap_inside_are_compiled(tmp_path):
    model = Teacher(**teacher_config('det', tmp_path)).model
    names = {module: name for name, module in model.named_modules()}

    def pieces(*tapped):
        return [names[m] for m in whole_pieces(model, set(tapped))]

    assert pieces('neck') == ['backbone', 'neck', 'bbox_head']
    assert pieces('backbone.layer2') == [
        *('backbone.conv1', 'backbone.bn1'),
        *(f'backbone.layer{i}' for i in (1, 2, 3, 4)),
        *('neck', 'bbox_head'),
    ]
    head = pieces('bbox_head.retina_cls')
    assert head[:2] == ['backbone', 'neck'] and 'bbox_head.retina_cls' in head
    assert 'bbox_head.cls_convs.0' in head and 'bbox_head.cls_convs' not in head


@pytest.mark.parametrize('works', [True, False])
def test_a_missing_compiler_is_said_once_and_does_no_harm(works, tmp_path, monkeypatch, said):
    compiled = []

    def fake(function, options=None):
        def call(*args, **kwargs):
            compiled.append(function)
            if not works:
                raise RuntimeError('no working C++ compiler')
            return function(*args, **kwargs)

        return call

    taps = [dict(module='backbone.layer2'), dict(module='head.fc')]
    _, expected = teacher_of(tmp_path, taps)
    monkeypatch.setattr(torch, 'compile', fake)
    teacher, found = teacher_of(tmp_path, taps, compile=True)
    assert_same(expected, found, 0)
    count = len(compiled)
    inputs, samples = probe_batch(teacher.model, (64, 64))
    teacher(inputs, samples)
    assert ('compiled' in teacher.describe()) == works
    assert sum('no working C++ compiler' in text for text in said) == int(not works)
    assert count > 5 if works else count == 1
    assert not any('forward' in vars(m) for m in teacher.model.modules()) or works


def test_errors_of_the_model_itself_are_not_put_on_the_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda function, options=None: function)
    teacher, _ = teacher_of(tmp_path, [dict(module='head.fc')], compile=True)
    teacher.model.backbone.layer3.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        teacher(*probe_batch(teacher.model, (64, 64)))


@pytest.mark.slow
def test_compiled_for_real(tmp_path):
    """Two sizes, taps behind and inside of what is compiled, and a method that goes through it."""
    taps = [dict(module='backbone.layer2'), dict(module='head.fc')]
    slow, expected = teacher_of(tmp_path, taps, **SLOW)
    fast, found = teacher_of(tmp_path, taps, compile=True)
    if 'compiled' not in fast.describe():
        pytest.skip('there is no working compiler for torch.compile')
    assert_same(expected, found, 1e-5)
    inputs = torch.randn(3, 3, 48, 80)
    assert_same(slow(inputs, None), fast(inputs, None), 1e-5)
    undo = compile_between(nn.Sequential(nn.Conv2d(3, 3, 1)), (), torch.device('cpu'))
    undo()
