"""The guard against distillation losses that are NaN or infinite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from mmkd.methods.base import Method, all_taps
from mmkd.models.step import Step
from mmkd.taps import flatten
from mmkd.utils import NonFiniteError, log_warning, one_of, progress

POLICIES = ('stop', 'skip_step', 'drop_kd')
PATIENCE = 50  # consecutive non-finite steps before the run ends
NAMED = 8  # images that a message names
SKIPPED = 'distill.loss_skipped'


class NonFiniteGuard:
    """Checks the distillation losses of every step before the backward pass.

    The losses are those before loss scaling. Gradients that overflow in fp16 are left to torch's
    GradScaler.

    With ``'stop'`` on CUDA the flag of a step is copied to the host without waiting and read in a
    later step, so that the host never waits for the device; the run ends one or two updates late,
    before a checkpoint is written. The other policies need the flag in the same step. With
    ``'skip_step'`` and several ranks one number is reduced over them, so that all of them skip.

    Args:
        policy: ``'stop'`` ends the run with an error that names the origin. ``'skip_step'`` makes
            no update in this step: the losses are zeros with a graph to every parameter, the
            student's buffers are restored, and :class:`~mmkd.engine.DistillHook` keeps the
            optimizer from updating. ``'drop_kd'`` leaves out the methods at fault and trains with
            the rest. Both end the run after 50 such steps in a row.

    Raises:
        ConfigError: There is no such policy.
    """

    def __init__(self, policy: str) -> None:
        self.policy = one_of(POLICIES, on_nonfinite=policy)
        #: Whether the last step was skipped.
        self.skipped = False
        #: Skipped steps since the optimizer's last update, which gradient accumulation delays.
        self.pending_updates = 0
        self.in_a_row = 0
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._evidence: deque[Evidence] = deque()

    @torch.no_grad()
    def save_buffers(self, student: nn.Module) -> None:
        """Copy the student's own buffers before a step that may be skipped.

        A batch that is not finite leaves statistics of BatchNorm that never recover.
        """
        if self.policy != 'skip_step':
            return
        if not self._buffers:
            own = (b for name, b in student.named_buffers() if not name.startswith('distiller.'))
            self._buffers = [(buffer, buffer.clone()) for buffer in own]
        for buffer, copy in self._buffers:
            copy.copy_(buffer)

    def zero_loss(self, student: nn.Module) -> dict[str, Tensor]:
        """Return a loss of 0 that touches every parameter, and restore the buffers."""
        self.pending_updates += 1
        with torch.no_grad():
            for buffer, copy in self._buffers:
                buffer.copy_(copy)
        parameters = [p for p in student.parameters() if p.requires_grad]
        zero = torch.zeros((), device=parameters[0].device)
        return {SKIPPED: sum(((p * 0.0).sum() for p in parameters), zero)}

    def check(self, step: Step, methods: Mapping[str, Method]) -> set[str] | None:
        """Return the methods of which a loss is not finite, or None if everything is.

        Args:
            step: The step.
            methods: Its active methods.

        Returns:
            The methods of this rank. Empty where another rank skips the step.

        Raises:
            NonFiniteError: The policy is to stop, or too many such steps came in a row.
        """
        self.skipped = False
        if not step.terms:
            return None
        finite = torch.stack([value.detach().float() for value in step.terms.values()]).isfinite()
        if self.policy == 'stop' and reads_later(finite):
            self._evidence.append(Evidence.of(step, methods).to_host())
            while self._evidence and self._evidence[0].ready():
                self._raise_if_bad(self._evidence.popleft())
            return None
        bad = (~finite).any()
        if self.policy == 'skip_step' and get_world_size() > 1:
            flag = bad.float()
            all_reduce(flag, 'max')
            bad = flag > 0
        if not bool(bad):
            self.in_a_row = 0
            return None
        if self.policy == 'stop':
            self._raise_if_bad(Evidence.of(step, methods))
        self.in_a_row += 1
        self.skipped = self.policy == 'skip_step'
        faulty = {name for (name, _), good in zip(step.terms, finite.tolist()) if not good}
        self._report(Evidence.of(step, {name: methods[name] for name in faulty}))
        for name in faulty:
            methods[name].forget_nonfinite()
        return faulty

    def flush(self) -> None:
        """Check the steps whose flags have not been read yet; waits for the device.

        Raises:
            NonFiniteError: One of them has a loss that is not finite.
        """
        while self._evidence:
            evidence = self._evidence.popleft()
            if evidence.event is not None:
                evidence.event.synchronize()
            self._raise_if_bad(evidence)

    def _raise_if_bad(self, evidence: Evidence) -> None:
        if evidence.faulty():
            raise NonFiniteError(
                f'{evidence.describe()}\nTo continue in such a case set '
                "model.distill.on_nonfinite to 'skip_step' or 'drop_kd'."
            )

    def _report(self, evidence: Evidence) -> None:
        text = evidence.describe()
        if self.in_a_row >= PATIENCE:
            raise NonFiniteError(f'{text}\nThis happened in {PATIENCE} consecutive steps.')
        done = 'the step is skipped' if self.skipped else 'trained without'
        log_warning(f'{text}\n{done}')


@dataclass
class Evidence:
    """The few numbers of a step that a message needs.

    Args:
        iteration: The iteration.
        terms: Values by method and term.
        own: The student's own losses.
        rows: Of every tensor that a method reads: method, side, description, and the largest
            absolute value of each row.
        images: Names of the images of both sides.
        event: Set on CUDA when the numbers have reached the host. Defaults to None.
    """

    iteration: int
    terms: dict[tuple[str, str], Tensor]
    own: dict[str, Tensor]
    rows: list[tuple[str, str, str, Tensor]]
    images: dict[str, list[str]]
    event: Any = None

    @classmethod
    @torch.no_grad()
    def of(cls, step: Step, methods: Mapping[str, Method]) -> Evidence:
        """Collect the evidence of a step on its device, without waiting for it."""
        rows = []
        for name, method in methods.items():
            sides = dict(student=(method.student_taps, step.student))
            sides['teacher'] = (method.teacher_taps, step.teacher)
            for side, (taps, tensors) in sides.items():
                for tap, _ in all_taps(taps, ''):
                    for place, tensor in enumerate(tensors[tap]):
                        level = tap.levels[place] if tap.levels else place
                        what = f'{side} {tap}, level {level} {tuple(tensor.shape)}'
                        rows.append((name, side, what, largest(tensor)))
        samples = dict(student=step.view.data_samples, teacher=step.view.teacher_samples)
        return cls(
            iteration=progress()[0],
            terms={key: v.detach().float() for key, v in step.terms.items() if key[0] in methods},
            own={k: mean_loss(v) for k, v in step.losses.items() if 'loss' in k},
            rows=rows,
            images={side: [image_name(s) for s in batch or []] for side, batch in samples.items()},
        )

    def to_host(self) -> Evidence:
        """Start copying the numbers to the host."""
        self.terms = {key: copy_to_host(value) for key, value in self.terms.items()}
        self.own = {name: copy_to_host(value) for name, value in self.own.items()}
        self.rows = [(*row[:-1], copy_to_host(row[-1])) for row in self.rows]
        self.event = torch.cuda.Event()
        self.event.record()
        return self

    def ready(self) -> bool:
        """Whether the numbers have reached the host."""
        return self.event is None or self.event.query()

    def faulty(self) -> list[tuple[str, str]]:
        """Return method and term of every loss that is not finite."""
        return [key for key, value in self.terms.items() if not bool(value.isfinite())]

    def describe(self) -> str:
        """Return which losses are not finite, and in which level and image it began."""
        faulty = self.faulty()
        lines = [
            f'model.distill.methods.{name}: its loss {term} is {float(self.terms[name, term])} in '
            f'iteration {self.iteration}'
            for name, term in faulty
        ] or [f'another rank has a loss that is not finite in iteration {self.iteration}']
        for name in sorted({name for name, _ in faulty}):
            rows = [row for row in self.rows if row[0] == name]
            found = [self._describe_row(row) for row in rows if not bool(row[-1].isfinite().all())]
            top = max((float(row[-1].max()) for row in rows), default=0.0)
            lines += found or [
                f'  everything that {name} reads is finite, at most {top:.3g}: the loss itself '
                'overflows or divides by zero',
                f'  images: {", ".join(self.images["student"][:NAMED]) or "unknown"}',
            ]
        bad = [f'{k} is {float(v)}' for k, v in self.own.items() if not bool(v.isfinite())]
        if bad:
            lines.append(f"  the student's own loss is not finite either: {', '.join(bad)}")
        return '\n'.join(lines)

    def _describe_row(self, row: tuple[str, str, str, Tensor]) -> str:
        _, side, what, values = row
        line = f'  {what}: {"nan" if bool(values.isnan().any()) else "inf"}'
        names = self.images[side]
        if len(names) == len(values):
            bad = (~values.isfinite()).nonzero().flatten().tolist()
            more = f' and {len(bad) - NAMED} more' if len(bad) > NAMED else ''
            line += f' in {", ".join(names[i] for i in bad[:NAMED])}{more}'
        return line


def mean_loss(value: Any) -> Tensor:
    """Return the sum of the means of nested losses."""
    return torch.stack([v.detach().float().mean() for v in flatten(value)]).sum()


def largest(tensor: Tensor) -> Tensor:
    """Return the largest absolute value of every row (N,); NaN where there is one."""
    if not tensor.numel():
        return tensor.new_zeros(1)
    low, high = torch.aminmax(tensor.detach().flatten(1), dim=1)
    return torch.maximum(-low, high)


def reads_later(tensor: Tensor) -> bool:
    """Whether reading a tensor makes the host wait for the device."""
    return tensor.is_cuda


def copy_to_host(tensor: Tensor) -> Tensor:
    """Copy a tensor to the host's memory, pinned for CUDA, without waiting for it."""
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return host.copy_(tensor, non_blocking=True)


def image_name(sample: Any) -> str:
    """Return an image's path, or its number, from the meta information of its sample."""
    meta = getattr(sample, 'metainfo', {})
    for key in ('img_path', 'img_id', 'sample_idx'):
        if meta.get(key) is not None:
            return str(meta[key]) if key == 'img_path' else f'{key} {meta[key]}'
    return 'an image without a path'
