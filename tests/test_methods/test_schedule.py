"""Weights that change during training."""

from __future__ import annotations

import math

import pytest
from mmengine.logging import MessageHub

from mmkd.methods.dlb import DLB
from mmkd.methods.schedule import Schedule
from mmkd.models.distiller import Distiller
from mmkd.utils import ConfigError, progress


def values(iterations: int, max_iters: int | None = None, **kwargs) -> list[float]:
    schedule = Schedule.parse(kwargs)
    return [schedule.at(i, max_iters) for i in range(iterations)]


def test_constant():
    assert values(3, value=2) == [2.0, 2.0, 2.0]
    assert Schedule.parse(0.5).at(7) == 0.5


def test_warmup_is_linear_and_ends_at_the_value():
    assert values(6, value=2.0, warmup_iters=4) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_warmup_in_steps():
    """As ``min(e / 2, 1)`` in epoch e of three iterations, counted from 1."""
    assert values(8, value=2.0, warmup_iters=6, warmup_step=3) == [1.0] * 3 + [2.0] * 5
    assert values(5, value=1.0, warmup_iters=3, warmup_step=2, begin=1) == [0, 2 / 3, 2 / 3, 1, 1]
    assert values(2, value=1.0, warmup_step=7) == [1.0, 1.0]


def test_begin_and_end():
    assert values(6, value=1.0, begin=2, end=4) == [0, 0, 1.0, 1.0, 0, 0]
    assert values(5, value=1.0, begin=1, warmup_iters=2) == [0, 0.5, 1.0, 1.0, 1.0]


def test_every():
    assert values(7, value=1.0, every=3) == [1.0, 0, 0, 1.0, 0, 0, 1.0]
    assert values(5, value=1.0, every=2, begin=1) == [0, 1.0, 0, 1.0, 0]


def test_every_and_warmup_beside_the_weight_are_deprecated():
    with pytest.warns(FutureWarning, match=r'warmup_iters=4 is deprecated .* use weight=dict\('):
        assert Schedule.parse(2.0, warmup_iters=4).at(1) == 1.0
    with pytest.warns(FutureWarning, match=r'every=2 is deprecated .* use weight=dict\('):
        assert [Schedule.parse(2.0, every=2).at(i) for i in range(4)] == [2.0, 0, 2.0, 0]
    with pytest.warns(FutureWarning):  # what stands in the dict counts
        assert Schedule.parse(dict(value=2.0, warmup_iters=2), warmup_iters=4).at(1) == 2.0
    with pytest.warns(FutureWarning):
        inner = Schedule.parse(dict(value=2.0, every=3), every=2)
    assert [inner.at(i) for i in range(4)] == [2.0, 0, 0, 2.0]
    with pytest.warns(FutureWarning), pytest.raises(ConfigError, match=r'^every: must be'):
        Schedule.parse(2.0, every=0)


def test_dlb_refuses_to_leave_iterations_out():
    """It compares to the iteration before, so it would find another one."""
    DLB('head.fc')
    with pytest.raises(ConfigError, match=r'^weight\.every: '):
        DLB('head.fc', weight=dict(value=1.0, every=2))


@pytest.mark.parametrize('decay', ['linear', 'cosine'])
def test_decay_falls_from_the_end_of_the_warmup_to_zero(decay):
    got = values(11, value=2.0, warmup_iters=2, decay=decay, begin=1, end=9)
    assert got[:3] == [0, 1.0, 2.0]
    for i in range(3, 9):
        left = 1 - (i - 3) / 6
        if decay == 'cosine':
            left = (1 - math.cos(math.pi * left)) / 2
        assert got[i] == pytest.approx(2.0 * left)
    assert got[9:] == [0, 0]


def test_decay_without_end_falls_over_the_whole_training():
    assert values(4, max_iters=4, value=1.0, decay='linear') == [1.0, 0.75, 0.5, 0.25]
    assert values(3, value=1.0, decay='linear') == [1.0, 1.0, 1.0]  # length unknown


@pytest.mark.parametrize(
    'weight',
    [
        -1.0,
        float('nan'),
        float('inf'),
        '1.0',
        None,
        True,
        [1.0],
        dict(value=-1.0),
        dict(warmup_iters=3),
        dict(value=1.0, warm_up=3),
        dict(value=1.0, decay='exponential'),
        dict(value=1.0, every=0),
        dict(value=1.0, every='2'),
        dict(value=1.0, warmup_iters=-1),
        dict(value=1.0, warmup_step=0),
        dict(value=1.0, begin=1.5),
        dict(value=1.0, begin=5, end=5),
    ],
    ids=str,
)
def test_refused(weight):
    with pytest.raises(ConfigError, match=r'^weight'):
        Schedule.parse(weight)


def test_nearest_key_is_named():
    with pytest.raises(ConfigError, match='warmup_iters'):
        Schedule.parse(dict(value=1.0, warmup_iter=3))


def test_the_distiller_reads_the_runners_iteration():
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', 7)
    hub.update_info('max_iters', 10)
    assert progress() == (7, 10)

    class Stub:
        methods = {  # noqa: RUF012
            'a': type('M', (), dict(schedule=Schedule(1.0, decay='linear'))),
            'b': type('M', (), dict(schedule=Schedule(1.0, end=7))),
        }

    assert Distiller.weights(Stub()) == {'a': pytest.approx(0.3), 'b': 0.0}
