"""Peak memory of a training step, in a process that does nothing else."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from mmkd.cli.bench import Bench, Setting, Spec

MIB = 2**20
STEPS = 3
# Freed tensors go back to the system at once, so that the resident set is what is in use.
MALLOC = {'MALLOC_MMAP_THRESHOLD_': '65536'}


def peak_memory(spec: Spec, setting: Setting, distilled: bool) -> float | None:
    """Return the peak memory of training steps in MiB, weights and optimizer included.

    On CUDA it is what torch has allocated, on a CPU the resident set of the whole process (Python
    and its packages too, about half a GiB), which only Linux can tell.

    Args:
        spec: The config.
        setting: Under what it is measured.
        distilled: Whether to measure the distilled student, or the plain one.
    """
    before = {name: os.environ.get(name) for name in MALLOC}
    os.environ.update(MALLOC)  # is read when a process starts
    try:
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
            return pool.submit(measure_here, spec, setting, distilled).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def measure_here(spec: Spec, setting: Setting, distilled: bool) -> float | None:
    """Measure in this process; see :func:`peak_memory`."""
    import mmkd  # noqa: F401  (a spawned process has registered nothing)

    bench = Bench(spec, setting)
    run = bench.step(bench.distilled() if distilled else bench.student())
    gc.collect()
    cuda = bench.device.type == 'cuda'
    if cuda:
        torch.cuda.reset_peak_memory_stats(bench.device)
    else:
        try:
            Path('/proc/self/clear_refs').write_text('5')  # building has a peak of its own
        except OSError:
            return None
    for _ in range(STEPS):
        run()
    return torch.cuda.max_memory_allocated(bench.device) / MIB if cuda else status('VmHWM') / 1024


def status(name: str) -> int:
    """Return an entry of this process's status, in KiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    raise ValueError(name)
