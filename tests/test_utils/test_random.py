"""Random numbers that do not disturb those of the student."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
import torch

from mmkd.utils import isolated_rng, step_generator


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


@pytest.mark.parametrize('fails', [False, True])
def test_isolated_rng_restores_all_three_generators(fails):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draw()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    try:
        with isolated_rng():
            assert draw() == expected  # it does not reseed
            torch.manual_seed(7)
            draw()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert draw() == expected


def test_step_generator_depends_on_its_arguments_alone():
    def number(*args):
        torch.rand(3)
        return float(torch.rand((), generator=step_generator(*args)))

    values = {number(*arguments) for arguments in product((0, 1), repeat=3)}
    assert len(values) == 8 and number(1, 1, 1) in values
    seed, state = torch.initial_seed(), torch.get_rng_state()
    step_generator(3)
    assert torch.equal(torch.get_rng_state(), state)
    before = number(5)
    torch.manual_seed(seed + 1)
    assert number(5) != before
