"""The recorded cases of the authors' code, and their comparison with mmkd.

``tests/golden/official`` holds inputs, values and gradients; its README describes them. A runner
computes one or more cases with mmkd and is registered with :func:`official`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / 'golden' / 'official'
VALUE, GRADIENT, ZERO = 1e-6, 1e-5, 1e-9  # relative 2-norms; the bound where the record is 0

Result = Tensor | Mapping[str, Tensor]
Runner = Callable[['Case'], Result]


@dataclass
class Case:
    """One recorded case.

    Args:
        name: Name of its file.
        params: Temperatures, weights, flags.
        inputs: Tensors by name, fp64 or int64; those with a recorded gradient require one.
        value: The recorded loss or array.
        terms: Recorded weighted terms; they sum to the value. May be empty.
        grads: Recorded gradients of the value, by input.
    """

    name: str
    params: dict[str, Any]
    inputs: dict[str, Tensor]
    value: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    grads: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.inputs[name]

    @classmethod
    def load(cls, name: str) -> Case:
        """Read a case."""
        with np.load(FOLDER / f'{name}.npz', allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        params = json.loads(str(arrays.pop('params')))
        case = cls(name, params, {}, torch.from_numpy(np.asarray(arrays.pop('value'))))
        for key, array in arrays.items():
            kind, _, rest = key.partition('_')
            group = dict(value=case.terms, grad=case.grads).get(kind)
            tensor = torch.from_numpy(np.asarray(array))
            if group is None:
                case.inputs[key] = tensor
            else:
                group[rest] = tensor
        for key in case.grads:
            case.inputs[key].requires_grad_()
        return case


@cache
def index() -> dict[str, Any]:
    """Return the index of all cases, with their sources and notes."""
    return json.loads((FOLDER / 'index.json').read_text())


@cache
def names() -> tuple[str, ...]:
    """Return the names of all cases."""
    return tuple(case['name'] for case in index()['cases'])


RUNNERS: dict[str, Runner] = {}
DEVIATIONS: dict[str, str] = {}  # what mmkd computes otherwise on purpose, and what makes it equal
WAITING: dict[str, str] = {}  # why mmkd cannot run a case


def matching(patterns: tuple[str, ...]) -> list[str]:
    """Return the names of the cases that match; every pattern must match one."""
    found = [[name for name in names() if fnmatch(name, pattern)] for pattern in patterns]
    assert all(found), f'{patterns}: some match no case'
    return sorted({name for group in found for name in group})


def official(*patterns: str, deviation: str = '') -> Callable[[Runner], Runner]:
    """Register the function that computes the cases of these names or patterns with mmkd.

    Args:
        *patterns: Names or patterns.
        deviation: What mmkd computes otherwise, as in the class's "Deviations". The runner then
            returns what the documented relation makes equal. Defaults to '', nothing.
    """

    def register(runner: Runner) -> Runner:
        for name in matching(patterns):
            assert name not in RUNNERS, f'{name} has two runners'
            RUNNERS[name] = runner
            if deviation:
                DEVIATIONS[name] = deviation
        return runner

    return register


def waiting(reason: str, *patterns: str) -> None:
    """List cases that mmkd has no counterpart for."""
    WAITING.update(dict.fromkeys(matching(patterns), reason))


def close(name: str, ours: Tensor, theirs: Tensor, bound: float) -> None:
    """Assert a small relative difference in the 2-norm."""
    assert ours.shape == theirs.shape, f'{name}: {tuple(ours.shape)}, not {tuple(theirs.shape)}'
    ours, theirs = ours.detach().double(), theirs.double()
    norm = float(theirs.norm())
    if norm == 0:
        assert float(ours.norm()) < ZERO, f'{name}: {float(ours.norm()):.3g} where 0 is recorded'
        return
    difference = float((ours - theirs).norm()) / norm
    assert difference <= bound, f'{name}: differs by {difference:.3g}, at most {bound:g}'


def compare(name: str, runner: Runner) -> None:
    """Compare the value, the terms and the gradients of a case."""
    case = Case.load(name)
    result = runner(case)
    if isinstance(result, Mapping):
        assert not case.terms or set(result) == set(case.terms), set(result) ^ set(case.terms)
        for term, expected in case.terms.items():
            close(f'{name}.{term}', result[term], expected, VALUE)
        result = torch.stack([torch.as_tensor(value) for value in result.values()]).sum()
    close(name, result, case.value, VALUE)
    if not case.grads:
        return
    inputs = [case.inputs[key] for key in case.grads]
    found = torch.autograd.grad(result, inputs, allow_unused=True)
    for (key, expected), ours, tensor in zip(case.grads.items(), found, inputs, strict=True):
        ours = torch.zeros_like(tensor) if ours is None else ours
        close(f'{name}: gradient of {key}', ours, expected, GRADIENT)
