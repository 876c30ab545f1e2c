"""Checkpoint files: written whole or not at all, and checked before a run goes on from one."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmkd.utils import ConfigError

BACKEND = 'mmkd_atomic'
INTERRUPTED = 'interrupted.pth'


class AtomicBackend(LocalBackend):
    """The local file system, on which a file appears under its name only when it is complete.

    It is mmengine's file backend ``'mmkd_atomic'``, for whoever wants it:
    ``CheckpointHook(backend_args=dict(backend='mmkd_atomic'))``.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes to a file beside ``filepath`` and rename it.

        Raises:
            OSError: It cannot be written; what was at ``filepath`` is still there.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'.{path.name}.partial')
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # a machine that loses power must not keep the name alone
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


register_backend(BACKEND, AtomicBackend)


def fault_of(path: str | os.PathLike) -> str | None:
    """Return what is wrong with a checkpoint file, or None.

    The whole file is read and its checksums compared, nothing is unpickled. A folder (a sharded
    checkpoint) is taken as it is.
    """
    path = Path(path)
    if path.is_dir():
        return None
    if not path.is_file():
        return 'does not exist'
    if not path.stat().st_size:
        return 'is empty'
    if not zipfile.is_zipfile(path):  # the directory of a zip file is at its end
        return 'is truncated, or no checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f'is damaged ({error})'
    return None if broken is None else f'is damaged (in {broken})'


def newest_checkpoint(work_dir: str, out_dir: str) -> tuple[str | None, list[str]]:
    """Return the last checkpoint of a run that is whole.

    That which ``last_checkpoint`` names comes first, then the others from the newest on. Best
    checkpoints are none to go on from: they hold no optimizer.

    Args:
        work_dir: Where the file ``last_checkpoint`` is.
        out_dir: Where the checkpoints are.

    Returns:
        The path, or None where there is no checkpoint; and what was wrong with newer ones.

    Raises:
        ConfigError: There are checkpoints, and all of them are broken.
    """
    note = Path(work_dir) / 'last_checkpoint'
    named = note.read_text().strip() if note.is_file() else ''
    found = [p for p in Path(out_dir).glob('*.pth') if not p.name.startswith('best_')]
    found.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
    order = [named] if named else []
    order += [str(p) for p in found if not named or p.resolve() != Path(named).resolve()]
    faults = []
    if note.is_file() and not named:
        faults.append(f'{note} is empty')
    for path in order:
        fault = fault_of(path)
        if fault is None:
            return path, faults
        faults.append(f'{path} {fault}')
    if order:
        raise ConfigError('resume', f'no checkpoint to go on from: {"; ".join(faults)}')
    return None, faults
