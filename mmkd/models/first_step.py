"""The report of a distillation step: losses, gradients, taps and teachers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from mmkd.methods.base import Method
from mmkd.models.gradients import Gradient, add, cosine, gradient_of, norm, reaches
from mmkd.models.step import Step
from mmkd.models.teacher import Teacher
from mmkd.taps import flatten
from mmkd.utils import ConfigError

# Shares of the task's gradient outside of which a loss gets a warning, and the share that it names.
# A student from random weights misleads: its task may start with a gradient that is far too small.
HIGH_AT_FIRST, HIGH, LOW, GOOD = 10.0, 3.0, 0.01, 0.5
TOTAL = 'distillation, all'


@dataclass(frozen=True)
class Row:
    """One loss in the report.

    Args:
        name: Its name in the log.
        weight: Weight of its method, after warm-up.
        value: Value with this weight.
        ratio: Value divided by the task loss.
        gradient: Norm of its gradient on the student's trained parameters; None where autograd
            cannot tell.
        share: That norm divided by the norm of the task's gradient.
        cosine: Cosine of the angle between the two gradients.
    """

    name: str
    weight: float
    value: float
    ratio: float
    gradient: float | None
    share: float | None
    cosine: float | None


class FirstStep:
    """Records one distillation step and reports it, to show that distillation takes place.

    Args:
        high: Share of the task's gradient above which a loss gets a warning. Defaults to 10.
    """

    def __init__(self, high: float = HIGH_AT_FIRST) -> None:
        self.high = high
        self.done = False
        self.notes: list[str] = []
        self.task: dict[str, float] = {}
        self.task_gradient: float | None = None
        self.rows: list[Row] = []
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
        own = [
            p for n, p in student.named_parameters() if p.requires_grad and 'distiller.' not in n
        ]
        losses = {
            name: torch.stack([t.mean() for t in flatten(value)]).sum()
            for name, value in step.losses.items()
            if 'loss' in name
        }
        self.task = {name: float(value.detach()) for name, value in losses.items()}
        task = gradient_of(torch.stack([*losses.values()]).sum(), own) if losses else None
        self.task_gradient = None if task is None else norm(task)
        whole: Gradient | None = [None] * len(own)
        for (name, term), value in step.terms.items():
            weight = methods[name].schedule.value  # not that of a warm-up's first step
            gradient = gradient_of(value * weight, own)
            full_name = f'distill.{name}.loss_{term}'
            if term in methods[name].auxiliary:
                self.auxiliary.add(full_name)
            elif gradient is not None and not reaches(gradient):
                raise ConfigError(
                    f'model.distill.methods.{name}',
                    f'its loss {term} has no gradient to the student: every tapped module is '
                    'frozen, or precedes everything that is trained',
                )
            self.rows.append(self._row(full_name, weight, float(value.detach()), gradient, task))
            whole = None if whole is None or gradient is None else add(whole, gradient)
        value = sum(row.value for row in self.rows)
        self.rows.append(self._row(TOTAL, 1.0, value, whole, task))
        for side, tensors in (('student', step.student), ('teacher', step.teacher)):
            for tap, kept in tensors.items():
                shapes = ' '.join('×'.join(map(str, t.shape)) for t in kept)
                self.taps.append((side, str(tap), shapes))

    def _row(
        self, name: str, weight: float, value: float, gradient: Any, task: Gradient | None
    ) -> Row:
        """Return the row of a loss from its unweighted value and its weighted gradient."""
        total = sum(self.task.values())
        size = None if gradient is None else norm(gradient)
        share = angle = None
        if size is not None and task is not None and self.task_gradient:
            share, angle = size / self.task_gradient, cosine(gradient, task)
        ratio = value * weight / total if total else float('nan')
        return Row(name, weight, value * weight, ratio, size, share, angle)

    def scalars(self) -> dict[str, float]:
        """Return the ratios and shares by name, for the log."""
        found = {}
        for row in self.rows:
            # Whatever has 'loss' in its name is summed or drawn as one.
            name = row.name.replace(TOTAL, 'distill').replace('loss_', '')
            for kind, value in (('ratio_to_task', row.ratio), ('gradient_to_task', row.share)):
                if value is not None:
                    found[f'{name}.{kind}'] = value
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return dict(
            task=self.task,
            task_gradient=self.task_gradient,
            losses=[asdict(row) for row in self.rows],
            taps=[dict(zip(('model', 'module', 'shapes'), tap)) for tap in self.taps],
            warnings=self.warnings(),
        )

    def report(
        self, teachers: Mapping[str, Teacher], title: str = 'First distillation step'
    ) -> str:
        """Return the tables as text."""
        losses = Table(title=title, title_justify='left')
        for column in (
            'loss',
            'weight',
            'weighted value',
            '÷ task',
            'gradient',
            '÷ task',
            'cosine',
        ):
            losses.add_column(column, justify='left' if column == 'loss' else 'right')
        size = shown(self.task_gradient)
        for name, value in self.task.items():
            alone = len(self.task) == 1
            losses.add_row(name, '', f'{value:.4g}', '', size if alone else '', '', '')
        if len(self.task) > 1:
            total = sum(self.task.values())
            losses.add_row('task, all', '', f'{total:.4g}', '', size, '', '')
        for row in self.rows:
            weight = '' if row.name == TOTAL else f'{row.weight:g}'
            cells = [f'{row.value:.4g}', f'{row.ratio:.3f}', *map(shown, (row.gradient, row.share))]
            losses.add_row(row.name, weight, *cells, shown(row.cosine, '.2f'))
        taps = Table(title='Taps', title_justify='left')
        for column in ('model', 'module', 'shapes'):
            taps.add_column(column, overflow='fold')
        for tap in self.taps:
            taps.add_row(*tap)
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
        """Return warnings about losses whose gradient is far from the task's."""
        found = []
        for row in self.rows:
            if row.name in self.auxiliary or row.name == TOTAL:
                continue
            if row.gradient == 0.0:
                why = 'its logits or features are saturated'
                if row.value == 0.0:
                    why = (
                        'so is the loss, as of equal models, without objects, or at an extreme tau'
                    )
                found.append(
                    f'WARNING: {row.name} has a zero gradient on the student in this step: {why}'
                )
                continue
            if row.share is None:
                continue
            good = f'{row.weight * GOOD / row.share:.2g} would give {GOOD:g}'
            size = f'{row.name} has {row.share:.2g} times the gradient of the task'
            if row.share > self.high:
                found.append(f'WARNING: {size}, which it will dominate: a weight of {good}')
            elif row.share < LOW:
                found.append(
                    f'WARNING: {size} and will hardly have an effect: a weight of {good}, unless '
                    'it warms up or starts near zero by nature'
                )
        return found


def shown(value: float | None, form: str = '.3g') -> str:
    """Return a number for a cell."""
    return 'n/a' if value is None else f'{value:{form}}'


def render(table: Table) -> str:
    """Return a table as plain text."""
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]
