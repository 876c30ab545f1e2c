"""Forms of a teacher that run at different speeds, and which of them is the fastest."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import broadcast_object_list
from torch import Tensor, nn

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
REPEAT = 3  # measured runs of every form
HOPELESS = 2.0  # a form whose first run takes so many times the best one's is not run again


@dataclass(frozen=True)
class Form:
    """How a teacher's weights and maps are stored.

    Args:
        precision: ``'fp32'``, ``'bf16'`` or ``'fp16'``. Defaults to ``'fp32'``.
        channels_last: Whether the channels of maps are innermost in memory. Defaults to False.
    """

    precision: str = 'fp32'
    channels_last: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and maps."""
        return PRECISIONS[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Order of the dimensions of maps in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def apply(self, model: nn.Module) -> None:
        """Bring the weights of a model into this form, in place."""
        model.to(self.dtype).to(memory_format=self.memory_format)

    def convert(self, inputs: Tensor) -> Tensor:
        """Bring a batch (N, 3, H, W) into this form."""
        return inputs.to(self.dtype, memory_format=self.memory_format)

    def __str__(self) -> str:
        return f'{self.precision}, channels last' if self.channels_last else self.precision


@dataclass
class Trial:
    """What a form costs and how far it is off.

    Args:
        form: The form.
        seconds: Median time of a forward pass; that of the only one for a hopeless form.
        error: Largest relative error (Euclidean) of a tapped tensor against fp32.
    """

    form: Form
    seconds: float
    error: float


def forms_for(device: torch.device) -> list[Form]:
    """Return the forms to try on a device, the exact one first."""
    names = ('fp32', 'bf16', 'fp16') if device.type == 'cuda' else ('fp32', 'bf16')
    return [Form(name, last) for name in names for last in (False, True)]


def try_forms(
    model: nn.Module,
    run: Callable[[nn.Module, Form], list[Tensor]],
    device: torch.device,
    forms: Iterable[Form] | None = None,
) -> list[Trial]:
    """Time every form of a model in turns and compare what it yields to fp32.

    Args:
        model: The model in fp32; it is copied, not changed.
        run: Runs a copy in its form and returns what is read from it, in fp32.
        device: Where the model is.
        forms: The forms. Defaults to None: those for the device, fp32 first.
    """
    trials: list[tuple[Trial, nn.Module, list[float]]] = []
    exact: list[Tensor] = []
    for form in forms_for(device) if forms is None else forms:
        twin = copy.deepcopy(model)
        form.apply(twin)
        try:
            found = run(twin, form)  # warms up, and chooses the kernels
            exact = exact or found
            trial = Trial(form, timed(run, twin, form, device), largest_error(exact, found))
        except RuntimeError:
            if form.precision == 'fp32':
                raise
            continue  # no kernel of this precision
        trials.append((trial, twin, [trial.seconds]))
    best = min(trial.seconds for trial, _, _ in trials)
    for _ in range(REPEAT - 1):
        for trial, twin, seconds in trials:
            if trial.seconds < HOPELESS * best:
                seconds.append(timed(run, twin, trial.form, device))
    for trial, _, seconds in trials:
        trial.seconds = statistics.median(seconds)
    return [trial for trial, _, _ in trials]


def fastest(trials: list[Trial], max_error: float) -> Trial:
    """Return the fastest of the trials whose error is small enough; the same in all processes."""
    exact_enough = [trial for trial in trials if trial.error <= max_error]
    chosen = [min(exact_enough, key=lambda trial: trial.seconds)]
    broadcast_object_list(chosen)  # the losses of all processes are averaged
    return chosen[0]


def timed(
    run: Callable[[nn.Module, Form], Any], model: nn.Module, form: Form, device: torch.device
) -> float:
    """Return the seconds of one run."""
    synchronize(device)
    start = time.perf_counter()
    run(model, form)
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def largest_error(expected: Iterable[Tensor], found: Iterable[Tensor]) -> float:
    """Return the largest ``‖a - b‖ / ‖a‖`` of two lists of tensors; inf where b is not finite."""
    worst = 0.0
    for a, b in zip(expected, found):
        scale = a.double().norm()
        error = float((a.double() - b.double()).norm() / scale if scale else b.double().norm())
        worst = max(worst, error if error == error else float('inf'))  # nan is no small error
    return worst
