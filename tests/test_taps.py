"""Taps: what is read, when, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmkd.taps import Tap, TapReader, flatten, tokens_to_map
from mmkd.utils import ConfigError


class Model(nn.Module):
    """A backbone, a shared head, a pair of maps, tokens, and modules that nothing calls."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.levels = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.neck = Neck()
        self.head = nn.Conv2d(4, 2, 1)
        self.unused = nn.Linear(2, 2)
        self.log = []

    def forward(self, x):
        self.log.append('stem')
        x = self.relu(self.bn(self.stem(x)))
        self.log.append('levels')
        a = self.levels[0](x)
        b = self.levels[1](x[..., ::2, ::2])
        self.log.append('neck')
        a, b = self.neck(dict(a=a, b=[b]), scale=2.0)
        self.log.append('head')
        outputs = [self.head(a), self.head(b)]
        self.log.append('end')
        return outputs


class Neck(nn.Module):
    def forward(self, maps, scale):
        return maps['a'] * scale, maps['b'][0]


def taps_of(config, levels=None):
    return dict.fromkeys(Tap.parse(config, levels, 'key'), 'key')


def read(config, levels=None, model=None):
    model = model or Model()
    reader = TapReader(model, taps_of(config, levels))
    return run(reader, model), model


def run(reader, model, passes=1, stop=False, inputs=None):
    def call(inputs, samples):
        for _ in range(passes):
            model(inputs)

    inputs = torch.randn(2, 3, 8, 8) if inputs is None else inputs
    return reader.read(model, inputs, None, run=call, stop=stop)[1]


def shapes(taken):
    return {str(tap): [tuple(t.shape) for t in kept] for tap, kept in taken.items()}


@pytest.mark.parametrize(
    ('config', 'levels', 'expected'),
    [
        ('stem', None, {'stem': [(2, 4, 8, 8)]}),
        ('neck', None, {'neck': [(2, 4, 8, 8), (2, 4, 4, 4)]}),
        ('neck', (1,), {'neck': [(2, 4, 4, 4)]}),
        ('neck', (-1, 0), {'neck': [(2, 4, 4, 4), (2, 4, 8, 8)]}),
        ('head', None, {'head': [(2, 2, 8, 8), (2, 2, 4, 4)]}),  # shared: once per call
        ('head', (-1,), {'head': [(2, 2, 4, 4)]}),
        ('levels.1', None, {'levels.1': [(2, 4, 4, 4)]}),
        (dict(module='head', source='input'), (0,), {'head (input)': [(2, 4, 8, 8)]}),
        # Nested positional arguments, and keyword arguments that are no tensors.
        (dict(module='neck', source='input'), None, {'neck (input)': [(2, 4, 8, 8), (2, 4, 4, 4)]}),
        (
            ['stem', dict(module='neck', levels=(0,))],
            None,
            {'stem': [(2, 4, 8, 8)], 'neck': [(2, 4, 8, 8)]},
        ),
    ],
)
def test_what_is_read(config, levels, expected):
    assert shapes(read(config, levels)[0]) == expected


def test_own_levels_win_over_the_methods():
    (a, b) = Tap.parse(['x', dict(module='y', levels=[2])], (0, 1), 'key')
    assert a.levels == (0, 1) and b.levels == (2,)


def test_names_of_teachers():
    (tap,) = Tap.parse('big:neck.convs', None, 'key')
    assert (tap.model, tap.module) == ('big', 'neck.convs')


def test_values_keep_their_gradients():
    taken, model = read('stem')
    (kept,) = taken.values()
    kept[0].sum().backward()
    assert model.stem.weight.grad is not None


def test_nothing_is_left_behind():
    """No hooks and no tensors after a step, nor after an exception."""
    model = Model()
    reader = TapReader(model, taps_of(['stem', 'neck', dict(module='head', source='input')]))

    def hooked(inputs, samples):
        assert model.stem._forward_hooks and model.head._forward_pre_hooks
        return model(inputs)

    output, _ = reader.read(model, torch.randn(2, 3, 8, 8), None, run=hooked)
    assert output is not None
    assert reader._records == {}
    with pytest.raises(ZeroDivisionError):
        reader.read(model, None, None, run=lambda inputs, samples: 1 / 0)
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_stops_behind_the_deepest_tap():
    model = Model()
    reader = TapReader(model, taps_of(['stem', 'neck']))
    x = torch.randn(2, 3, 8, 8)
    full = run(reader, model, stop=True, inputs=x)  # the first pass goes to the end
    assert model.log[-1] == 'end'
    model.log.clear()
    model.eval()
    again = run(reader, model, stop=True, inputs=x)
    assert model.log == ['stem', 'levels', 'neck']
    assert shapes(again) == shapes(full)


def test_stops_after_the_last_call_of_a_shared_head():
    model = Model()
    reader = TapReader(model, taps_of('head'))
    for _ in range(2):
        (kept,) = run(reader, model, stop=True).values()
        assert len(kept) == 2
    assert model.log.count('end') == 1


@pytest.mark.parametrize('config', ['bn', dict(module='relu', source='input')])
def test_tensors_modified_in_place(config):
    """The ReLU overwrites what BatchNorm returned."""
    with pytest.raises(ConfigError, match='modified in place'):
        read(config)
    assert read('relu')[0]


def test_a_clone_survives_what_overwrites_it():
    model = Model().eval()
    inputs = torch.randn(2, 3, 8, 8)
    reader = TapReader(model, taps_of(dict(module='bn', clone=True)))
    (kept,) = run(reader, model, inputs=inputs).values()
    torch.testing.assert_close(kept[0], model.bn(model.stem(inputs)))
    assert kept[0].min() < 0 and kept[0].requires_grad


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('nekc', 'the nearest are: neck'),
        ('levels', r'container \(ModuleList\).*levels\.0, levels\.1'),
        ('levels.2', r'the nearest are: levels'),
        ('', 'no module'),
        ('distiller', 'no module'),
    ],
)
def test_modules_that_cannot_be_read(config, message):
    with pytest.raises(ConfigError, match=r'^key: .*' + message):
        TapReader(Model(), taps_of(config))


@pytest.mark.parametrize(
    ('config', 'levels', 'message'),
    [
        ('unused', None, 'is not called'),
        ('neck', (2,), 'level 2 is out of range.*levels go from 0 to 1'),
        ('neck', (-3,), 'level -3 is out of range'),
        ('stem', (1,), 'level 1 is out of range'),
        (dict(module='stem', tokens=True), None, None),
    ],
)
def test_taps_that_yield_nothing(config, levels, message):
    if message is None:
        assert read(config, levels)
        return
    with pytest.raises(ConfigError, match=r'^key: .*' + message):
        read(config, levels)


@pytest.mark.parametrize(
    'config',
    [
        3,
        None,
        dict(levels=(0,)),
        dict(module='neck', level=(0,)),
        dict(module='neck', source='inputs'),
        dict(module='neck', levels=0),
        dict(module='neck', levels='01'),
        dict(module='neck', levels=(0.5,)),
        dict(module='neck', levels=()),
        dict(module=None),
    ],
    ids=str,
)
def test_no_taps(config):
    with pytest.raises(ConfigError, match=r'^key'):
        Tap.parse(config, None, 'key')


def test_calls_that_vary_are_noticed():
    model = Model()
    reader = TapReader(model, taps_of('stem'))
    run(reader, model)
    with pytest.raises(ConfigError, match="'stem' was called 2 times in this step and 1"):
        run(reader, model, passes=2)


def test_modules_are_looked_up_in_every_pass():
    """The Runner may replace BatchNorm by SyncBN after the model was built."""
    model = Model()
    reader = TapReader(model, taps_of('bn'))
    model.bn = nn.BatchNorm2d(4)
    model.relu = nn.ReLU()
    assert shapes(run(reader, model)) == {'bn': [(2, 4, 8, 8)]}


@pytest.mark.parametrize('extra', [0, 1, 2])
def test_tokens(extra):
    tokens = torch.randn(2, 12 - 3 + extra, 5)
    image = tokens_to_map(tokens, 'key')
    assert image.shape == (2, 5, 3, 3)
    for y in range(3):
        for x in range(3):
            assert torch.equal(image[:, :, y, x], tokens[:, extra + 3 * y + x])


@pytest.mark.parametrize('shape', [(2, 8, 5), (2, 5), (2, 0, 4)])
def test_tokens_that_form_no_square(shape):
    with pytest.raises(ConfigError, match='do not form a square'):
        tokens_to_map(torch.zeros(shape), 'key')


def test_maps_are_no_tokens():
    image = torch.zeros(2, 3, 4, 5)
    assert tokens_to_map(image, 'key') is image


def test_flatten():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert [id(t) for t in flatten((a, dict(x=[b, None], y='z'), 3, c))] == [id(a), id(b), id(c)]
