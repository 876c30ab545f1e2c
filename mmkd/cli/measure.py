"""Time and memory of training steps, measured in turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.models.teacher import Teacher

MIB = 2**20


@dataclass
class Candidate:
    """Something that is measured: a plain student, a teacher, or a distilled student.

    Args:
        name: Name in the table.
        run: One step.
        model: The model whose graph is measured; None for a teacher.
        seconds: Wall time of every measured step.
        saved_mib: Bytes that autograd keeps for backward, parameters excluded, in MiB.
        peak_mib: Growth of the peak memory over the memory before the step, in MiB.
        parts: Median seconds of the parts of a step.
    """

    name: str
    run: Callable[[], Any]
    model: nn.Module | None = None
    seconds: list[float] = field(default_factory=list)
    saved_mib: float | None = None
    peak_mib: float | None = None
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.seconds) < 4:
            return float('nan')
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median


def measure(candidates: list[Candidate], device: torch.device, repeat: int, warmup: int) -> None:
    """Time the candidates in turns, then look at memory and at the parts of a step.

    One step of each after the other, so that whatever else the machine does hits all of them.
    """
    for candidate in candidates:
        for _ in range(warmup):
            candidate.run()
    for _ in range(repeat):
        for candidate in candidates:
            synchronize(device)
            start = time.perf_counter()
            candidate.run()
            synchronize(device)
            candidate.seconds.append(time.perf_counter() - start)
    for candidate in candidates:
        gc.collect()
        candidate.peak_mib = peak_of(candidate.run, device)
        if candidate.model is not None:
            kept = saved_bytes(candidate.run, candidate.model.parameters())[1]
            candidate.saved_mib = kept / MIB
            candidate.parts = parts_of(candidate, device, max(repeat // 2, 3))


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def peak_of(run: Callable[[], Any], device: torch.device) -> float | None:
    """Return by how many MiB a step raises the memory in use; None where that cannot be told.

    On CUDA by the allocator; on a CPU by the resident set, whose peak only Linux can reset.
    """
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    try:
        Path('/proc/self/clear_refs').write_text('5')
        before = status('VmRSS')
        run()
        return (status('VmHWM') - before) / 1024
    except (OSError, ValueError):
        return None


def status(name: str) -> int:
    """Return an entry of this process's status, in KiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    raise ValueError(name)


def saved_bytes(function: Callable[[], Any], exclude: Iterable[Tensor] = ()) -> tuple[Any, int]:
    """Call a function and count what autograd keeps for its backward pass.

    Args:
        function: Is called without arguments.
        exclude: Tensors whose storages do not count, such as parameters. Defaults to ().

    Returns:
        What the function returns, and the bytes of all kept storages, each counted once.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    return result, sum(storage.nbytes() for storage in kept.values())


def parts_of(candidate: Candidate, device: torch.device, repeat: int) -> dict[str, float]:
    """Return the median seconds of the parts of a step."""
    runs: list[dict[str, float]] = []
    with clocks(device) as spent:
        for _ in range(repeat):
            spent.clear()
            candidate.run()
            runs.append(dict(spent))
    names = {name for run in runs for name in run}
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


@contextmanager
def clocks(device: torch.device) -> Iterator[dict[str, float]]:
    """Time the parts of every step that runs inside, by name."""
    spent: dict[str, float] = {}
    running: set[str] = set()
    places = [
        (Teacher, '__call__', 'teacher'),
        (Method, 'run', 'methods'),
        (OptimWrapper, 'backward', 'backward'),
        (OptimWrapper, 'step', 'optimizer'),
    ]
    originals = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in places]

    def timed(function: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in running:  # a method that runs others
                return function(*args, **kwargs)
            running.add(name)
            synchronize(device)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                synchronize(device)
                running.remove(name)
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

        return call

    try:
        for (owner, attribute, original), (_, _, name) in zip(originals, places):
            setattr(owner, attribute, timed(original, name))
        yield spent
    finally:
        for owner, attribute, original in originals:
            setattr(owner, attribute, original)
