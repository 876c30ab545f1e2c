"""Two gloo ranks on the CPU, a node each, find what one process finds."""

from __future__ import annotations

import sys

import pytest
import torch
from mmengine.logging import MessageHub
from reliability import two_nodes
from support import ddp_works
from support.ddp_rows import ROWS, compare, trace
from support.views import random

from mmkd.mixers.hard import hard_augment

pytestmark = pytest.mark.ddp


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What one process and what two ranks find, in the same folder of teachers."""
    folder = tmp_path_factory.mktemp('ddp')
    expected = {name: trace(name, folder, 2) for name in ROWS}
    MessageHub._instance_dict.clear()
    return expected, two_nodes.launch([*ROWS, *ddp_works.WORKS], folder), folder


@pytest.fixture
def ranks(found):
    return found[1]


@pytest.mark.parametrize('name', ROWS)
def test_two_ranks_equal_one_process(name, found):
    """Gradients and state in every step, those with a skipped method included."""
    expected, ranks, _ = found
    compare(name, expected[name], [rank[name] for rank in ranks])


def test_table_of_the_command(found, monkeypatch, capsys):
    expected, ranks, _ = found
    monkeypatch.setattr(two_nodes, 'trace', lambda name, *_: expected[name])
    monkeypatch.setattr(two_nodes, 'launch', lambda *_: ranks)
    command = 'two_nodes --ranks 1 --rows cirkd-queues uskd-mean dlb-last-batch'
    monkeypatch.setattr(sys, 'argv', command.split())
    with pytest.raises(SystemExit) as end:
        two_nodes.main()
    assert not end.value.code
    assert '2 nodes of 1 ranks on the loopback device: 3 of 3' in capsys.readouterr().out


def test_past_predictions_of_ranks_with_fewer_images_or_none(ranks):
    first, second = (rank['uneven'] for rank in ranks)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    rows = first[0]
    seed = {0: (11, 1), 1: (0, 1), 2: (1, 0), 5: (1, 1), 7: (11, 0), 6: (31, 0)}
    for number in range(8):
        if number not in seed:
            assert not rows[number].any()
            continue
        source, place = seed[number]
        count = {0: 3, 1: 2, 11: 2, 31: 1}[source]
        probs = random(count, 3, seed=source).softmax(1)[place]
        torch.testing.assert_close(rows[number].double(), probs, rtol=1e-3, atol=1e-3)


def test_centroids_are_those_of_all_ranks(found):
    _, ranks, folder = found
    expected = ddp_works.informed(0, folder, 1)
    assert expected[1].sum() == 12 and expected[2].any()
    for a, b, one in zip(*(rank['informed'] for rank in ranks), expected, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one, rtol=1e-4, atol=1e-6)


def test_a_side_learner_takes_the_mean_step(found):
    _, ranks, folder = found
    expected = ddp_works.side_steps(0, folder, 1)
    for a, b, one in zip(*(rank['side_steps'] for rank in ranks), expected, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one)


def test_an_augmentor_takes_the_mean_step_and_has_one_turn_for_both(found, monkeypatch):
    _, ranks, folder = found
    (first, own), (second, other) = (rank['augmented'] for rank in ranks)
    for (a, learning_a), (b, learning_b) in zip(first, second, strict=True):
        assert torch.equal(a, b) and learning_a is learning_b is False
    assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    assert all(torch.equal(first[0][0], later) for later, _ in first[1:])  # paused
    steps = []
    for rank in (0, 1):  # each rank alone, from the values of rank 0, with its own noise
        model = ddp_works.augmented_student(folder)
        batch = ddp_works.augmentor_batch(model, rank)
        monkeypatch.setattr(hard_augment, 'get_rank', lambda rank=rank: rank)
        torch.manual_seed(0)
        model.distiller.mixer.learn(model, *batch, 0)
        steps.append(ddp_works.learned(model))
    torch.testing.assert_close(first[0][0], sum(steps) / 2, rtol=1e-4, atol=1e-6)
    assert (steps[0] - steps[1]).abs().max() > 1e-5


@pytest.mark.parametrize('task_on', ['clean', 'both'])
def test_two_passes_of_the_student_on_every_rank(task_on, ranks):
    """Where one rank's batch is mixed, both take two passes; one forward of DDP holds them."""
    first, second = (rank[f'task_on_{task_on}'] for rank in ranks)
    found = set()
    for (mixed, passes, gradients), (other_mixed, other_passes, other) in zip(
        first, second, strict=True
    ):
        assert passes == other_passes == 1 + (mixed or other_mixed)
        found.add((mixed, other_mixed))
        for name, gradient in gradients.items():
            assert torch.equal(gradient, other[name]), name
    assert len(found) >= 3  # both, none, one of them


@pytest.mark.parametrize('policy', ['skip_step', 'drop_kd'])
def test_a_loss_that_is_not_finite_on_one_rank(policy, ranks):
    """Both ranks agree about the step, and nobody waits."""
    first, second = (rank[policy] for rank in ranks)
    skip = policy == 'skip_step'
    for iteration, (a, b) in enumerate(zip(first, second, strict=True)):
        assert a[0] == b[0] == (skip and iteration == 1)
        for name, gradient in a[2].items():
            assert torch.equal(gradient, b[2][name]), name
            assert gradient.isfinite().all()
        assert any(g.any() for g in a[2].values()) != a[0]
    if skip:
        assert first[1][1] == second[1][1] == ['distill.loss_skipped']
    else:
        assert 'distill.big.loss_big' in first[1][1]
        assert 'distill.big.loss_off' in second[1][1]
