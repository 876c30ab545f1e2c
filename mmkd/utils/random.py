"""Random numbers that do not disturb those of the student."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_rng() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators on exit.

    Teachers and adapters are built inside it, so the student draws the same initial weights with
    and without distillation.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def step_generator(iteration: int, rank: int = 0, salt: int = 0) -> torch.Generator:
    """Return a CPU generator that depends only on the run's seed, the iteration and the rank.

    No state is carried from step to step, so a resumed run draws the same numbers, and the global
    generator is never advanced.

    Args:
        iteration: Training iteration.
        rank: Rank of this process. Defaults to 0.
        salt: Separates several users in one step. Defaults to 0.
    """
    seed = np.random.SeedSequence([torch.initial_seed() % 2**63, iteration, rank, salt])
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
