"""The record of one distillation step, and what the first step proves of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmkd.methods.base import Method, Tensors, all_taps, gather
from mmkd.taps import Tap, flatten
from mmkd.utils import ConfigError
from mmkd.view import View


@dataclass
class Step:
    """One distillation step; the guard, the report and the pictures read it.

    Args:
        view: What the step looks at.
        weights: Weight of every method in this iteration.
        student: Tensors of the student's taps, fp32, with gradients.
        teacher: Tensors of the teachers' taps, fp32, without.
        losses: The student's own losses. Defaults to {}.
        terms: Losses of the methods, unweighted, by method and term. Defaults to {}.
    """

    view: View
    weights: Mapping[str, float]
    student: Mapping[Tap, list[Tensor]]
    teacher: Mapping[Tap, list[Tensor]]
    losses: Mapping[str, Any] = field(default_factory=dict)
    terms: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def tensors(self, method: Method) -> tuple[Tensors, Tensors]:
        """Return student's and teacher's tensors as a method reads them."""
        return gather(method.student_taps, self.student), gather(method.teacher_taps, self.teacher)

    def compute(self, name: str, method: Method) -> None:
        """Add the losses of a method."""
        losses = method.compute(*self.tensors(method), self.view)
        self.terms.update({(name, term): value for term, value in losses.items()})

    def compute_checked(self, name: str, method: Method) -> None:
        """Add the losses of a method in its first step.

        Raises:
            ConfigError: ``forward`` creates parameters, which no optimizer would train, or leaves
                one of the method's taps unused.
        """
        count = sum(1 for _ in method.parameters())
        with _StorageRecorder() as recorder:
            self.compute(name, method)
        if sum(1 for _ in method.parameters()) != count:
            raise ConfigError(
                '',
                'forward() created parameters, which no optimizer trains; create them in '
                'build(model, student, teacher, teachers)',
            )
        sides = dict(student=(method.student_taps, self.student))
        sides['teacher'] = (method.teacher_taps, self.teacher)
        for side, (taps, found) in sides.items():
            for tap, key in all_taps(taps, side):
                tensors = found[tap]
                if tensors and not any(recorder.used(tensor) for tensor in tensors):
                    raise ConfigError(
                        key,
                        f'{str(tap)!r} is tapped and never used by forward(); use its tensors or '
                        'remove the tap',
                    )


class _StorageRecorder(TorchDispatchMode):
    """Records which storages the operations inside the ``with`` block read."""

    def __init__(self) -> None:
        super().__init__()
        self._read: set[int] = set()

    def used(self, tensor: Tensor) -> bool:
        """Whether an operation has read the storage of a tensor."""
        return tensor.untyped_storage().data_ptr() in self._read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._read.update(t.untyped_storage().data_ptr() for t in flatten((args, kwargs)))
        return func(*args, **kwargs)
