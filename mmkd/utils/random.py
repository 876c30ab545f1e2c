"""Random numbers that leave the student's own random numbers alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_rng() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators on exit.

    Teachers and adapters are built inside it, so that the student draws the same initial weights
    with distillation and without.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def step_generator(iteration: int, rank: int = 0, salt: int = 0) -> torch.Generator:
    """Return a CPU generator that depends on the run's seed, the iteration and the rank alone.

    Nothing is carried from step to step, so a resumed run draws what an uninterrupted one draws
    and the global generator is never advanced.

    Args:
        iteration: Training iteration.
        rank: Rank of this process. Defaults to 0.
        salt: Keeps several users of one step apart. Defaults to 0.
    """
    seed = np.random.SeedSequence([torch.initial_seed() % 2**63, iteration, rank, salt])
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
