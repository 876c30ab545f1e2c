"""What a run needs to go on exactly where it was: random states, and the place in its epoch."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch.utils.data import DataLoader

State = dict[str, Any]


def random_state() -> State:
    """Return the states of this process's generators, in a form that is no code when loaded."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert kind == 'MT19937'
    state = dict(
        python=random.getstate(),
        numpy=torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        numpy_rest=(int(position), int(has_gauss), float(cached)),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: State) -> None:
    """Restore what :func:`random_state` returned."""
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    position, has_gauss, cached = state['numpy_rest']
    keys = state['numpy'].cpu().numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, position, has_gauss, cached))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def random_states() -> list[State]:
    """Return the states of all ranks, on every rank."""
    state = random_state()
    return [state] if get_world_size() == 1 else all_gather_object(state)


def own_state(states: list[State] | None) -> State | None:
    """Return this rank's state, or None where the run had another number of ranks."""
    return states[get_rank()] if states and len(states) == get_world_size() else None


class RestOfEpoch:
    """A batch sampler without the batches that an interrupted epoch has already had.

    The sampler inside is run through, as it may remember its last batch. The length stays that of
    a whole epoch.

    Args:
        batch_sampler: The batch sampler of a data loader.
        done: Number of batches to leave out.
    """

    def __init__(self, batch_sampler: Any, done: int) -> None:
        self.batch_sampler = batch_sampler
        self.done = done

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batch_sampler):
            if number >= self.done:
                yield batch

    def __len__(self) -> int:
        return len(self.batch_sampler)


def rest_of_epoch(loader: DataLoader, done: int) -> DataLoader:
    """Return a loader of what is left of an epoch.

    Its seed is drawn from a generator of its own: the uninterrupted epoch has drawn one already.
    """
    return DataLoader(
        loader.dataset,
        batch_sampler=RestOfEpoch(loader.batch_sampler, done),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
        generator=torch.Generator(),
    )


def shield_workers(on: bool) -> None:
    """Hold SIGTERM back while processes are forked that load data: they inherit that.

    A cluster sends it to every process of a job, and a run whose workers die cannot end in order.
    They listen to their parent alone, which asks them to end when it ends itself.
    """
    forks = multiprocessing.get_start_method(allow_none=True) in (None, 'fork')
    if forks and hasattr(signal, 'sigwaitinfo'):
        how = signal.SIG_BLOCK if on else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGTERM})


def _wait_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _listen_to_parent() -> None:
    """In a process that was forked with SIGTERM held back, see :func:`shield_workers`."""
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


if hasattr(signal, 'sigwaitinfo'):
    os.register_at_fork(after_in_child=_listen_to_parent)
