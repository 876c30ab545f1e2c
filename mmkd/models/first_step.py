"""The report of the first training step."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.models.step import Step
from mmkd.models.teacher import Teacher
from mmkd.taps import flatten
from mmkd.utils import ConfigError


class FirstStep:
    """Records one distillation step and reports it, to show that distillation takes place."""

    def __init__(self) -> None:
        self.done = False
        self.notes: list[str] = []
        self.task: dict[str, float] = {}
        self.rows: list[tuple[str, float, float, float, float | None]] = []
        self.taps: list[tuple[str, str, str]] = []
        self.auxiliary: set[str] = set()

    def observe(self, student: nn.Module, step: Step, methods: Mapping[str, Method]) -> None:
        """Record one step.

        Args:
            student: The student.
            step: The step.
            methods: Its active methods.

        Raises:
            ConfigError: A distillation loss has no gradient path to the student.
        """
        self.done = True
        for name, value in step.losses.items():
            if 'loss' in name:
                self.task[name] = float(sum(t.detach().mean() for t in flatten(value)))
        own = [
            p for n, p in student.named_parameters() if p.requires_grad and 'distiller.' not in n
        ]
        total = sum(self.task.values())
        for (name, term), value in step.terms.items():
            weight = step.weights[name]
            norm = gradient_norm(value * weight, own)
            full_name = f'distill.{name}.loss_{term}'
            if term in methods[name].auxiliary:
                self.auxiliary.add(full_name)
            elif norm == 0.0 and float(value.detach()) != 0.0:
                raise ConfigError(
                    f'model.distill.methods.{name}',
                    f'its loss {term} has no gradient to the student: every tapped module is '
                    'frozen, or precedes everything that is trained',
                )
            weighted = float(value.detach()) * weight
            ratio = weighted / total if total else float('nan')
            self.rows.append((full_name, weight, weighted, ratio, norm))
        for side, tensors in (('student', step.student), ('teacher', step.teacher)):
            for tap, kept in tensors.items():
                shapes = ' '.join('×'.join(map(str, t.shape)) for t in kept)
                self.taps.append((side, str(tap), shapes))

    def report(self, teachers: Mapping[str, Teacher]) -> str:
        """Return the tables as text."""
        losses = Table(title='First distillation step', title_justify='left')
        for column in ('loss', 'weight', 'weighted value', 'ratio to task', 'gradient norm'):
            losses.add_column(column, justify='left' if column == 'loss' else 'right')
        for name, value in self.task.items():
            losses.add_row(name, '', f'{value:.4g}', '', '')
        for name, weight, value, ratio, norm in self.rows:
            shown = 'n/a' if norm is None else f'{norm:.3g}'
            losses.add_row(name, f'{weight:g}', f'{value:.4g}', f'{ratio:.3f}', shown)
        taps = Table(title='Taps', title_justify='left')
        for column in ('model', 'module', 'shapes'):
            taps.add_column(column, overflow='fold')
        for row in self.taps:
            taps.add_row(*row)
        lines = []
        for name, teacher in teachers.items():
            counts = ', '.join(f'{k} {v}' for k, v in teacher.load_report.items())
            note = ', re-normalized' if teacher.renormalize is not None else ''
            label = f'teacher {name}'.strip()
            lines.append(
                f'{label}: {type(teacher.model).__name__}, checkpoint entries {counts}; '
                f'hash {teacher.hash}{note}; runs in {teacher.describe()}'
            )
        return '\n'.join([render(losses), render(taps), *lines, *self.notes, *self.warnings()])

    def warnings(self) -> list[str]:
        """Return warnings about the sizes of the losses."""
        found = []
        for name, _, _, ratio, _ in self.rows:
            if name in self.auxiliary:
                continue  # does not act on the student
            if ratio > 10:
                found.append(
                    f'WARNING: {name} is {ratio:.0f} times the task loss, which it will dominate: '
                    'lower the weight'
                )
            elif 0 <= ratio < 1e-3:
                found.append(
                    f'WARNING: {name} is {ratio:.1e} of the task loss and will hardly have an '
                    'effect: raise the weight, unless it warms up or starts near zero by nature'
                )
        return found


def gradient_norm(loss: Tensor, parameters: list[nn.Parameter]) -> float | None:
    """Return the norm of a loss's gradient, or None where autograd cannot tell.

    ``torch.autograd.grad`` leaves ``.grad`` and DDP's hooks alone. It cannot pass through
    re-entrant checkpointing.
    """
    if not loss.requires_grad:
        return 0.0
    try:
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return None
    norms = [g.detach().float().norm() for g in gradients if g is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def render(table: Table) -> str:
    """Return a table as plain text."""
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
