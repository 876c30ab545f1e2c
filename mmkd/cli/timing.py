"""Shared by the benchmarks: time of functions in turns and of their parts, and kept memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.benchmark import timer

MIB = 2**20
Place = tuple[Any, str, str]  # an object, the name of its function, and the part that this is


def time_in_turns(
    functions: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 0
) -> dict[str, list[float]]:
    """Return the seconds of every call, device included.

    Each round calls every function once, so that other load of the machine affects all alike. The
    ``warmup`` calls of each function before the first round do not count.
    """
    console = Console(stderr=True)
    for function in track(functions.values(), 'warm-up', console=console, transient=True):
        for _ in range(warmup):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in track(range(rounds), ', '.join(functions), console=console):
        for name, function in functions.items():
            start = timer()  # it waits for the device
            function()
            seconds[name].append(timer() - start)
    return seconds


def half_range(values: list[float]) -> float:
    """Return half the distance between the quartiles, NaN for fewer than four values."""
    if len(values) < 4:
        return float('nan')
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def saved_bytes(function: Callable[[], Any], exclude: Iterable[Tensor] = ()) -> tuple[Any, int]:
    """Call a function; return its result and the bytes that autograd keeps for its backward pass.

    Every storage counts once, and those of the tensors in ``exclude`` (parameters) do not count.
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


@contextmanager
def clocks(places: Iterable[Place]) -> Iterator[dict[str, float]]:
    """Yield the seconds of the parts, by name, of whatever runs inside.

    The time of a part inside another one counts for the inner part only. Every part waits for the
    device, so that nothing overlaps.
    """
    spent: dict[str, float] = {}
    inside: list[float] = []  # for every part that is running, the seconds of the parts in it

    def timed(function: Any, part: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = timer()
            inside.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                seconds = timer() - start
                spent[part] = spent.get(part, 0.0) + seconds - inside.pop()
                if inside:
                    inside[-1] += seconds

        return call

    places = list(places)
    before = [vars(owner).get(name) for owner, name, _ in places]  # None: the class has it
    clocked = [timed(getattr(owner, name), part) for owner, name, part in places]
    try:
        for function, (owner, name, _) in zip(clocked, places):
            setattr(owner, name, function)
        yield spent
    finally:
        for function, (owner, name, _) in zip(before, places):
            delattr(owner, name) if function is None else setattr(owner, name, function)
