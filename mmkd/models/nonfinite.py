"""Losses that are not finite: who computed them, from what, and what happens then."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.methods.base import Method, all_taps
from mmkd.taps import Tap, flatten
from mmkd.utils import ConfigError, NonFiniteError, progress
from mmkd.view import View

POLICIES = ('stop', 'skip_step', 'drop_kd')
# Steps in a row after which there is no distillation any more that would be worth going on with.
PATIENCE = 50
# Images that a message names.
NAMED = 8
SKIPPED = 'distill.loss_skipped'

Terms = Mapping[tuple[str, str], Tensor]
Tapped = Mapping[Tap, list[Tensor]]


class NonFiniteGuard:
    """Looks at the distillation losses of every step, before the backward pass.

    The losses are those before loss scaling, so gradients that overflow in fp16 are not its
    concern: torch's GradScaler skips their step as always.

    It reads one flag from the device in each step. With ``'skip_step'`` and several ranks one
    number is reduced over them first, so that all of them skip.

    Args:
        policy: ``'stop'`` ends the run with an error that says where the value comes from.
            ``'skip_step'`` makes no update in this step: the losses are zeros with a graph to every
            parameter, the student's buffers are put back, and
            :class:`~mmkd.engine.DistillHook` keeps the optimizer from acting.
            ``'drop_kd'`` leaves out the methods at fault and trains with what remains. Both end
            the run after 50 such steps in a row.

    Raises:
        ConfigError: There is no such policy.
    """

    def __init__(self, policy: str) -> None:
        if policy not in POLICIES:
            raise ConfigError('model.distill.on_nonfinite', f'use one of {", ".join(POLICIES)}')
        self.policy = policy
        #: Whether the last step was skipped.
        self.skipped = False
        #: Skipped steps since the optimizer's last turn, which gradient accumulation delays.
        self.waiting = 0
        self.in_a_row = 0
        self._buffers: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def remember(self, student: nn.Module) -> None:
        """Copy the student's own buffers before a step that may have to be skipped.

        A batch that is not finite leaves statistics of BatchNorm that never recover.
        """
        if self.policy != 'skip_step':
            return
        if not self._buffers:
            own = (b for name, b in student.named_buffers() if not name.startswith('distiller.'))
            self._buffers = [(buffer, buffer.clone()) for buffer in own]
        for buffer, copy in self._buffers:
            copy.copy_(buffer)

    def nothing(self, student: nn.Module) -> dict[str, Tensor]:
        """Return a loss of 0 that touches every parameter, and put the buffers back."""
        self.waiting += 1
        with torch.no_grad():
            for buffer, copy in self._buffers:
                buffer.copy_(copy)
        parameters = [p for p in student.parameters() if p.requires_grad]
        zero = torch.zeros((), device=parameters[0].device)
        return {SKIPPED: sum(((p * 0.0).sum() for p in parameters), zero)}

    def faulty(self, terms: Terms) -> set[str] | None:
        """Return the methods of which a loss is not finite, or None if everything is.

        Args:
            terms: Scalars by method and term.

        Returns:
            The methods of this rank. Empty where another rank asks for the step to be skipped.
        """
        self.skipped = False
        if not terms:
            return None
        values = [value.detach() for value in terms.values()]
        values = [value.float() if value.ndim == 0 else value.float().mean() for value in values]
        finite = torch.stack(values).isfinite()
        bad = (~finite).any()
        if self.policy == 'skip_step' and get_world_size() > 1:
            flag = bad.float()
            all_reduce(flag, 'max')
            bad = flag > 0
        if not bool(bad):
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        self.skipped = self.policy == 'skip_step'
        return {name for (name, _), good in zip(terms, finite.tolist()) if not good}

    def handle(
        self,
        methods: Mapping[str, Method],
        losses: Mapping[str, Any],
        terms: Terms,
        tapped: Tapped,
        read: Tapped,
        view: View,
    ) -> None:
        """Say what is wrong, and clean what the methods at fault remember.

        Args:
            methods: The methods at fault.
            losses: The student's own losses.
            terms: Scalars by method and term.
            tapped: Tensors of the student's taps.
            read: Tensors of the teachers' taps.
            view: What this step looks at.

        Raises:
            NonFiniteError: The policy is to stop, or patience is at an end.
        """
        text = describe(methods, losses, terms, tapped, read, view)
        if self.policy == 'stop':
            raise NonFiniteError(
                f"{text}\nTo go on in such a case set model.distill.on_nonfinite to 'skip_step' or "
                "'drop_kd'."
            )
        if self.in_a_row >= PATIENCE:
            raise NonFiniteError(f'{text}\nThat was the case in {PATIENCE} steps in a row.')
        done = 'the step is skipped' if self.skipped else 'trained without'
        print_log(f'{text}\n{done}', logger='current', level=logging.WARNING)
        for method in methods.values():
            method.forget_nonfinite()


def describe(
    methods: Mapping[str, Method],
    losses: Mapping[str, Any],
    terms: Terms,
    tapped: Tapped,
    read: Tapped,
    view: View,
) -> str:
    """Word which losses are not finite, and in which level and image it began."""
    lines = []
    for (name, term), value in terms.items():
        if name in methods:
            number = float(value.detach().float().mean())
            if number - number != 0:
                lines.append(
                    f'model.distill.methods.{name}: its loss {term} is {number} in iteration '
                    f'{progress()[0]}'
                )
    if not lines:
        lines.append(f'another rank has a loss that is not finite in iteration {progress()[0]}')
    for name, method in methods.items():
        found = [
            *inspect('student', method.student_taps, tapped, view.data_samples),
            *inspect('teacher', method.teacher_taps, read, view.teacher_samples),
        ]
        lines += found or [
            f'  all that {name} reads is finite, at most {largest(method, tapped, read):.3g}: the '
            'loss itself overflows or divides by zero',
            f'  images: {", ".join(map(name_of, samples_of(view))) or "unknown"}',
        ]
    own = {k: sum(v.detach().float().mean() for v in flatten(x)) for k, x in losses.items()}
    bad = [f'{k} is {float(v)}' for k, v in own.items() if 'loss' in k and not torch.isfinite(v)]
    if bad:
        lines.append(f"  the student's own loss is not finite either: {', '.join(bad)}")
    return '\n'.join(lines)


def inspect(side: str, taps: Any, tensors: Tapped, samples: Any) -> list[str]:
    """Return a line for every level that is not finite.

    Args:
        side: ``'student'`` or ``'teacher'``.
        taps: The taps of a method on this side.
        tensors: What they yield.
        samples: N data samples.
    """
    lines = []
    names = [name_of(sample) for sample in samples or []]
    for tap, _ in all_taps(taps, ''):
        for place, tensor in enumerate(tensors.get(tap, [])):
            bad = ~tensor.detach().isfinite()
            if not bool(bad.any()):
                continue
            level = tap.levels[place] if tap.levels else place
            kind = 'nan' if bool(tensor.isnan().any()) else 'inf'
            line = f'  {side} {tap}, level {level} {tuple(tensor.shape)}: {int(bad.sum())} × {kind}'
            if len(tensor) == len(names):
                rows = bad.flatten(1).any(1).nonzero().flatten().tolist()
                shown = ', '.join(names[row] for row in rows[:NAMED])
                more = f' and {len(rows) - NAMED} more' if len(rows) > NAMED else ''
                line += f', in {shown}{more}'
            lines.append(line)
    return lines


def largest(method: Method, tapped: Tapped, read: Tapped) -> float:
    """Return the largest absolute value of everything that a method reads."""
    tensors = [
        tensor
        for taps, found in ((method.student_taps, tapped), (method.teacher_taps, read))
        for tap, _ in all_taps(taps, '')
        for tensor in found.get(tap, [])
    ]
    return max((float(t.detach().abs().max()) for t in tensors if t.numel()), default=0.0)


def samples_of(view: View) -> list[Any]:
    """Return the data samples of a step, as far as there are some."""
    return list(view.data_samples or [])[:NAMED]


def name_of(sample: Any) -> str:
    """Return an image's path, or its number, from the meta information of its sample."""
    meta = getattr(sample, 'metainfo', {})
    for key in ('img_path', 'img_id', 'sample_idx'):
        if meta.get(key) is not None:
            return str(meta[key]) if key == 'img_path' else f'{key} {meta[key]}'
    return 'an image without a path'
