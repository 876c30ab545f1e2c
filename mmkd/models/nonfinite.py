"""The guard against distillation losses that are NaN or infinite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        if evidence.find('term'):
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


class Entry(NamedTuple):
    """What some numbers of an :class:`Evidence` are."""

    kind: str  # 'term' of a method, 'own' loss of the student, 'rows' of a tapped tensor
    method: str
    text: str  # name of the loss, or description of the tensor
    side: str = ''


@dataclass
class Evidence:
    """The few numbers of a step that a message needs, in one tensor for one copy to the host.

    Args:
        iteration: The iteration.
        images: Names of the images of both sides.
        entries: What the numbers are, and how many.
        values: Losses, and the largest absolute value of every row of the tapped tensors.
        event: Set on CUDA when the numbers have reached the host. Defaults to None.
    """

    iteration: int
    images: dict[str, list[str]]
    entries: list[tuple[Entry, int]]
    values: Tensor
    event: Any = None

    @classmethod
    @torch.no_grad()
    def of(cls, step: Step, methods: Mapping[str, Method]) -> Evidence:
        """Collect the evidence of a step on its device, without waiting for it."""
        found = [
            (Entry('term', name, term), value.detach().float().reshape(1))
            for (name, term), value in step.terms.items()
            if name in methods
        ]
        for name, value in step.losses.items():
            if 'loss' in name:
                found.append((Entry('own', '', name), mean_loss(value).reshape(1)))
        for name, method in methods.items():
            sides = dict(student=(method.student_taps, step.student))
            sides['teacher'] = (method.teacher_taps, step.teacher)
            for side, (taps, tensors) in sides.items():
                for tap, _ in all_taps(taps, ''):
                    for place, tensor in enumerate(tensors[tap]):
                        level = tap.levels[place] if tap.levels else place
                        text = f'{side} {tap}, level {level} {tuple(tensor.shape)}'
                        found.append((Entry('rows', name, text, side), largest(tensor)))
        samples = dict(student=step.view.data_samples, teacher=step.view.teacher_samples)
        device = next(iter(step.terms.values())).device
        return cls(
            iteration=progress()[0],
            images={side: [image_name(s) for s in batch or []] for side, batch in samples.items()},
            entries=[(entry, len(values)) for entry, values in found],
            values=torch.cat([torch.empty(0, device=device), *(v.to(device) for _, v in found)]),
        )

    def to_host(self) -> Evidence:
        """Start copying the numbers to the host."""
        self.values = copy_to_host(self.values)
        self.event = torch.cuda.Event()
        self.event.record()
        return self

    def ready(self) -> bool:
        """Whether the numbers have reached the host."""
        return self.event is None or self.event.query()

    def find(self, kind: str, finite: bool = False) -> list[tuple[Entry, Tensor]]:
        """Return entries of a kind with their numbers: those that are not finite, or all."""
        found = zip(self.entries, self.values.split([count for _, count in self.entries]))
        return [
            (entry, values)
            for (entry, _), values in found
            if entry.kind == kind and (finite or not bool(values.isfinite().all()))
        ]

    def describe(self) -> str:
        """Return which losses are not finite, and in which level and image it began."""
        faulty = self.find('term')
        lines = [
            f'model.distill.methods.{entry.method}: its loss {entry.text} is {float(value)} in '
            f'iteration {self.iteration}'
            for entry, value in faulty
        ] or [f'another rank has a loss that is not finite in iteration {self.iteration}']
        for name in sorted({entry.method for entry, _ in faulty}):
            found = [row for row in self.find('rows') if row[0].method == name]
            read = [rows for entry, rows in self.find('rows', finite=True) if entry.method == name]
            top = float(torch.cat(read).max()) if read else 0.0
            lines += [self._describe_rows(*row) for row in found] or [
                f'  everything that {name} reads is finite, at most {top:.3g}: the loss itself '
                'overflows or divides by zero',
                f'  images: {", ".join(self.images["student"][:NAMED]) or "unknown"}',
            ]
        own = [f'{entry.text} is {float(value)}' for entry, value in self.find('own')]
        if own:
            lines.append(f"  the student's own loss is not finite either: {', '.join(own)}")
        return '\n'.join(lines)

    def _describe_rows(self, entry: Entry, rows: Tensor) -> str:
        line = f'  {entry.text}: {"nan" if bool(rows.isnan().any()) else "inf"}'
        names = self.images[entry.side]
        if len(names) == len(rows):
            bad = (~rows.isfinite()).nonzero().flatten().tolist()
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
