"""Time of training steps, measured in turns, and what they keep for backward."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

import mmkd.models.teacher
from mmkd.methods.base import Method
from mmkd.mixers.base import Mixer
from mmkd.mixers.patch_swap import PatchSwap
from mmkd.models.speed import synchronize
from mmkd.models.teacher import Teacher
from mmkd.taps import TapReader

MIB = 2**20
PARTS = ('mixer', 'teacher', 'taps', 'methods', 'backward', 'optimizer')


@dataclass
class Candidate:
    """Something that is measured: a plain student, a teacher, or a distilled student.

    Args:
        name: Name in the table.
        run: One step.
        model: The model whose graph is measured; None for a teacher.
        seconds: Wall time of every measured step.
        saved_mib: Bytes that autograd keeps for backward, parameters excluded, in MiB.
        parts: Median seconds of the parts of a step.
    """

    name: str
    run: Callable[[], Any]
    model: nn.Module | None = None
    seconds: list[float] = field(default_factory=list)
    saved_mib: float | None = None
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of the seconds, relative to the median."""
        return half_range(self.seconds) / self.median

    def ratios(self, other: Candidate) -> list[float]:
        """Return the ratio of every step to the other's step of the same round."""
        return [a / b for a, b in zip(self.seconds, other.seconds)]


def half_range(values: list[float]) -> float:
    """Return half the distance between the quartiles, nan of fewer than four values."""
    if len(values) < 4:
        return float('nan')
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def measure(candidates: list[Candidate], device: torch.device, repeat: int, warmup: int) -> None:
    """Time the candidates in turns, then look at their graphs and at the parts of a step.

    One step of each after the other, so that whatever else the machine does hits all of them.
    """
    console = Console(stderr=True)
    for candidate in track(candidates, 'warm-up', console=console, transient=True):
        for _ in range(warmup):
            candidate.run()
    names = ', '.join(candidate.name for candidate in candidates if candidate.model is not None)
    for _ in track(range(repeat), names, console=console):
        for candidate in candidates:
            synchronize(device)
            start = time.perf_counter()
            candidate.run()
            synchronize(device)
            candidate.seconds.append(time.perf_counter() - start)
    for candidate in candidates:
        if candidate.model is not None:
            kept = saved_bytes(candidate.run, candidate.model.parameters())[1]
            candidate.saved_mib = kept / MIB
            candidate.parts = parts_of(candidate, device, max(repeat // 2, 3))


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
    """Time the parts of every step that runs inside, by name; a part in a part counts there only.

    Every part waits for the device, so that what overlaps otherwise does not overlap here.
    """
    spent: dict[str, float] = {}
    inside: list[float] = []  # for every part that is running, the seconds of the parts in it
    places: list[tuple[Any, str, str]] = [
        (Teacher, '__call__', 'teacher'),
        (TapReader, 'take', 'taps'),
        (mmkd.models.teacher, 'detached', 'taps'),
        (Method, 'run', 'methods'),
        (Mixer, 'mix', 'mixer'),
        (PatchSwap, 'mix', 'mixer'),
        *((owner, 'backward', 'backward') for owner in (OptimWrapper, AmpOptimWrapper)),
        *((owner, 'step', 'optimizer') for owner in (OptimWrapper, AmpOptimWrapper)),
    ]
    originals = [getattr(owner, attribute) for owner, attribute, _ in places]

    def timed(function: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            synchronize(device)
            start = time.perf_counter()
            inside.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                synchronize(device)
                seconds = time.perf_counter() - start
                spent[name] = spent.get(name, 0.0) + seconds - inside.pop()
                if inside:
                    inside[-1] += seconds

        return call

    try:
        for original, (owner, attribute, name) in zip(originals, places):
            setattr(owner, attribute, timed(original, name))
        yield spent
    finally:
        for original, (owner, attribute, _) in zip(originals, places):
            setattr(owner, attribute, original)
