"""What an interrupted run needs to resume exactly: random states, its position, intact files."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from torch.utils.data import DataLoader

from mmkd.utils import ConfigError

BACKEND = 'mmkd_atomic'
State = dict[str, Any]


def random_state() -> State:
    """Return the states of this process's generators as data that loads without running code."""
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
    keys = state['numpy'].cpu().numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, *state['numpy_rest']))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def gather_random_states() -> list[State]:
    """Return the states of all ranks, on every rank."""
    return all_gather_object(random_state())


class RestOfEpoch:
    """A batch sampler that skips the batches an interrupted epoch has already used.

    It still iterates over the ``done`` batches, because the inner sampler may keep state. Its
    length is that of a full epoch.
    """

    def __init__(self, batch_sampler: Any, done: int) -> None:
        self.batch_sampler = batch_sampler
        self.done = done

    def __iter__(self) -> Iterator[list[int]]:
        yield from itertools.islice(self.batch_sampler, self.done, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)


def rest_of_epoch(loader: DataLoader, done: int) -> DataLoader:
    """Return a loader for the rest of an epoch.

    It draws its seed from a generator of its own: the interrupted epoch has drawn one already.
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
    """Block SIGTERM while data-loading workers are forked; they inherit the mask.

    A cluster signals every process of a job, and a run whose workers die cannot stop cleanly. The
    workers obey their parent alone, which terminates them when it exits.
    """
    forks = multiprocessing.get_start_method(allow_none=True) in (None, 'fork')
    if forks and hasattr(signal, 'sigwaitinfo'):
        how = signal.SIG_BLOCK if on else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, {signal.SIGTERM})


def _wait_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _obey_parent() -> None:
    """Run in each forked process; acts if SIGTERM is blocked, see :func:`shield_workers`."""
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


if hasattr(signal, 'sigwaitinfo'):
    os.register_at_fork(after_in_child=_obey_parent)


class AtomicBackend(LocalBackend):
    """The local file system; a file appears under its name only when it is complete.

    It is mmengine's file backend ``'mmkd_atomic'`` and also works with
    ``CheckpointHook(backend_args=dict(backend='mmkd_atomic'))``.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes to a temporary file beside ``filepath`` and rename it.

        Raises:
            OSError: The file cannot be written; the previous file is intact.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'.{path.name}.partial')
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # or a power cut may keep the name without the content
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


register_backend(BACKEND, AtomicBackend)


def find_fault(path: str | os.PathLike) -> str | None:
    """Return what is wrong with a checkpoint file, or None.

    The whole file is read and its checksums are verified; nothing is unpickled. A directory (a
    sharded checkpoint) is not checked.
    """
    path = Path(path)
    if path.is_dir():
        return None
    if not path.is_file():
        return 'does not exist'
    if not path.stat().st_size:
        return 'is empty'
    if not zipfile.is_zipfile(path):  # the directory of a zip file is at its end
        return 'is truncated or not a checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f'is damaged ({error})'
    return f'is damaged (in {broken})' if broken else None


def newest_checkpoint(work_dir: str, out_dir: str) -> tuple[str | None, list[str]]:
    """Return the newest intact checkpoint of a run.

    The one named by the file ``last_checkpoint`` in ``work_dir`` comes first, then those in
    ``out_dir``, newest first. Best checkpoints are skipped: they hold no optimizer.

    Returns:
        The path, or None if there is no checkpoint; and the faults of newer ones.

    Raises:
        ConfigError: There are checkpoints, and none is intact.
    """
    note = Path(work_dir) / 'last_checkpoint'
    named = note.read_text().strip() if note.is_file() else None
    found = [p for p in Path(out_dir).glob('*.pth') if not p.name.startswith('best_')]
    found.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
    order = [named] if named else []
    order += [str(p) for p in found if not named or p.resolve() != Path(named).resolve()]
    faults = [f'{note} is empty'] if named == '' else []
    for path in order:
        fault = find_fault(path)
        if fault is None:
            return path, faults
        faults.append(f'{path} {fault}')
    if order:
        raise ConfigError('resume', f'no intact checkpoint: {"; ".join(faults)}')
    return None, faults


def choose_checkpoint(runner: Any, out_dir: str | None) -> str | None:
    """Return the checkpoint to resume from, on every rank, or None; warn about damaged ones.

    ``load_from`` of the runner has priority over checkpoints in ``out_dir``.

    Raises:
        ConfigError: ``load_from``, or every checkpoint, is damaged.
    """
    chosen: list[Any] = [None, None]  # path, error
    if is_main_process() and runner._load_from is not None:
        chosen[0] = path = str(runner._load_from)
        if '://' not in path and (fault := find_fault(path)):
            chosen[1] = f'{path} {fault}'
    elif is_main_process():
        try:
            chosen[0] = _find_checkpoint(runner, out_dir)
        except ConfigError as error:
            chosen[1] = error.message
    broadcast_object_list(chosen)
    if chosen[1] is not None:
        raise ConfigError('resume', chosen[1])
    return chosen[0]


def _find_checkpoint(runner: Any, out_dir: str | None) -> str | None:
    folder = out_dir or runner.work_dir
    if folder != runner.work_dir:  # as in CheckpointHook.before_train
        folder = str(Path(folder) / Path(runner.work_dir).name)
    found, faults = newest_checkpoint(runner.work_dir, folder)
    for fault in faults:
        runner.logger.warning(fault)
    if found is None:
        runner.logger.warning(f'{folder} has no checkpoint to resume; training starts anew')
    elif faults:
        runner.logger.warning(f'resuming from {found} instead')
    return found
