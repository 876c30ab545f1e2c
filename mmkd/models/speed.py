"""What makes a teacher fast: precision, memory format, ``torch.compile``, a CUDA stream."""

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

from mmkd.taps import Tap
from mmkd.utils import log_warning

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
REPEAT = 3  # measured runs of every form


@dataclass(frozen=True)
class Form:
    """Precision and memory format of a teacher's weights and maps.

    Args:
        precision: ``'fp32'``, ``'bf16'`` or ``'fp16'``. Defaults to ``'fp32'``.
        channels_last: Whether maps are stored channels last. Defaults to False.
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
    """Time and error of a form.

    Args:
        form: The form.
        seconds: Median time of a forward pass.
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
    model: nn.Module, run: Callable[[nn.Module, Form], list[Tensor]], device: torch.device
) -> list[Trial]:
    """Time a model in every form and compare its tapped tensors with those of fp32.

    Args:
        model: The model in fp32; it is copied, not changed.
        run: Runs a copy in its form and returns the tapped tensors, in fp32.
        device: Where the model is.
    """
    trials = []
    exact: list[Tensor] = []
    for form in forms_for(device):
        twin = copy.deepcopy(model)
        form.apply(twin)
        try:
            found = run(twin, form)  # warms up, and chooses the kernels
        except RuntimeError:
            if form.precision == 'fp32':
                raise
            continue  # no kernel of this precision
        exact = exact or found
        seconds = [timed(run, twin, form, device) for _ in range(REPEAT)]
        trials.append(Trial(form, statistics.median(seconds), largest_error(exact, found)))
    return trials


def fastest(trials: list[Trial], max_error: float) -> Trial:
    """Return the fastest trial with a small enough error; the same in all processes."""
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


class TeacherStream:
    """Runs teachers with ``overlap=True`` on a CUDA stream, beside the student's forward pass.

    Args:
        cuda: Streams and their functions. Defaults to ``torch.cuda``.
    """

    def __init__(self, cuda: Any = torch.cuda) -> None:
        self.cuda = cuda
        self._stream: Any = None
        self._pending: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> TeacherStream:
        return TeacherStream(self.cuda)

    def run(self, teacher: Any, inputs: Tensor, data_samples: Any) -> dict[Tap, list[Tensor]]:
        """Run a teacher, on the stream if it overlaps and the inputs are on CUDA.

        Args:
            teacher: The :class:`~mmkd.models.teacher.Teacher`.
            inputs: Batch (N, 3, H, W).
            data_samples: N data samples.

        Returns:
            The tensors of every tap. Those of a teacher on the stream may not be read before
            :meth:`join`.
        """
        if teacher.overlap and not inputs.is_cuda:
            teacher.overlap = False  # warn once
            log_warning(f'{teacher.key}.overlap: needs CUDA and is ignored on {inputs.device.type}')
        if not teacher.overlap:
            return teacher(inputs, data_samples)
        if self._stream is None:
            self._stream = self.cuda.Stream(device=inputs.device)
        self._stream.wait_stream(self.cuda.current_stream(inputs.device))
        with self.cuda.stream(self._stream):
            features = teacher(inputs, data_samples)
        # The memory of the inputs is not reused before the stream has read it.
        inputs.record_stream(self._stream)
        self._pending += [tensor for kept in features.values() for tensor in kept]
        return features

    def join(self) -> None:
        """Make the current stream wait for the teachers that run beside it."""
        if not self._pending:
            return
        current = self.cuda.current_stream(self._stream.device)
        current.wait_stream(self._stream)
        for tensor in self._pending:
            tensor.record_stream(current)
        self._pending = []


def compile_between(
    model: nn.Module, tapped: Iterable[str], device: torch.device
) -> Callable[[], None]:
    """Compile the largest modules without a tapped module inside, in place.

    The hooks of the taps stay outside the compiled code. Nothing is compiled before its first
    call.

    Args:
        model: A frozen model.
        tapped: Paths of the tapped modules.
        device: Where the model is. On a CPU its weights become constants of the compiled code.

    Returns:
        A function that restores the original modules.
    """
    options = {'freezing': True} if device.type == 'cpu' else None
    compiled = list(whole_pieces(model, set(tapped)))
    for module in compiled:
        module.forward = torch.compile(module.forward, options=options)

    def undo() -> None:
        for module in compiled:
            del module.forward

    return undo


def whole_pieces(model: nn.Module, tapped: set[str], prefix: str = '') -> list[nn.Module]:
    """Return the largest modules with parameters in which nothing is tapped."""
    found = []
    for name, child in model.named_children():
        path = f'{prefix}{name}'
        container = isinstance(child, (nn.ModuleList, nn.ModuleDict))  # these are never called
        if container or any(tap.startswith(f'{path}.') for tap in tapped):
            found += whole_pieces(child, tapped, f'{path}.')
        elif next(child.parameters(), None) is not None:
            found.append(child)
    return found
