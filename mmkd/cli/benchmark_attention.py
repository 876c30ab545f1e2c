"""Measure the attention of ACAM-KD: as it is printed, exact without the matrix, and pooled.

One level, forward and backward, on random maps: memory that autograd keeps, growth of the peak
memory (accelerators only), time (medians of interleaved rounds), and the largest difference from
the printed form.
"""

from __future__ import annotations

import copy
import re
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.fileio import dump
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from mmkd.cli.common import check_device, make_parser
from mmkd.cli.timing import MIB, saved_bytes, time_in_turns
from mmkd.methods.acam import ACAM, MaskUnits
from mmkd.utils.checks import integer
from mmkd.utils.errors import ConfigError
from mmkd.view import View

Size = tuple[int, int]
DIFFERENCES = ('loss_difference', 'student_gradient_difference', 'weights_gradient_difference')


def main() -> None:
    """Measure and print one table."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        '--sizes',
        nargs='+',
        default=['25x42', '50x84', '100x168'],
        help='HEIGHTxWIDTH of the maps. Defaults to three levels of a detector at 1333×800',
    )
    add('--channels', type=int, default=256, help='Defaults to 256')
    add('--batch', type=int, default=1, help='Defaults to 1')
    add('--pool', type=int, nargs='*', default=[2], help='factors of the pooled forms. Default: 2')
    add('--rounds', type=int, default=1, help='of the timing. Defaults to 1')
    add('--device', default='cpu', help='Defaults to cpu')
    add('--json', type=Path, help='write the rows to this file as well')
    args = parser.parse_args()
    for name in ('channels', 'batch', 'rounds'):
        integer(1, **{f'--{name}': getattr(args, name)})
    for factor in args.pool:
        integer(1, **{'--pool': factor})
    check_device(args.device)
    rows = []
    for size in args.sizes:
        numbers = re.fullmatch(r'(\d+)[x×](\d+)', size)
        if not numbers or not all(map(int, numbers.groups())):
            raise ConfigError('--sizes', f'must be HEIGHTxWIDTH, such as 100x168, got {size!r}')
        height, width = map(int, numbers.groups())
        rows += measure(
            (height, width), args.channels, args.batch, args.pool, args.rounds, args.device
        )
    threads = f', {torch.get_num_threads()} threads' if args.device == 'cpu' else ''
    show(rows, f'N = {args.batch}, C = {args.channels}, fp32, {args.device}{threads}')
    if args.json:
        dump(rows, args.json, 'json', indent=1)


class NaiveUnits(MaskUnits):
    """Mask units with the attention as it is printed, with its H·W × H·W matrix."""

    def forward(self, query: Tensor, key: Tensor, pool: int) -> tuple[Tensor | None, Tensor | None]:
        """Return spatial masks (N, M, H, W) and channel masks (N, M, C)."""
        assert self.spatial is not None and self.channel is not None and pool == 1
        q, k, v = (
            project(x).flatten(2)
            for project, x in ((self.query, query), (self.key, key), (self.value, key))
        )
        attention = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(2)  # (N, H·W, H·W)
        fused = (attention @ v.transpose(1, 2)).transpose(1, 2)  # (N, C, H·W)
        spatial = (self.spatial @ fused).sigmoid().unflatten(2, query.shape[2:])
        channel = (self.channel * fused.mean(2)[:, None]).sigmoid()
        return spatial, channel


def make_forms(teacher: Tensor, student: Tensor, factors: list[int]) -> dict[str, ACAM]:
    """Return ACAM with the same weights in every form: naive, exact, and pooled by each factor."""
    method = ACAM('student', 'teacher', pool=1)
    method.build(torch.nn.Module(), [student.detach()], [teacher], {})
    method.to(teacher)
    for unit in (method.units[0].spatial, method.units[0].channel):
        torch.nn.init.normal_(unit, std=0.5)  # masks that differ, as those of a trained model
    forms = {name: copy.deepcopy(method) for name in ('naive', 'exact')}
    forms['naive'].units[0].__class__ = NaiveUnits
    for factor in factors:
        forms[f'pool={factor}'] = copy.deepcopy(method)
        forms[f'pool={factor}'].pool = factor
    return forms


def smooth_map(batch: int, channels: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return a random map whose neighboring cells are similar, as in a network."""
    coarse = [max(n // 4, 1) for n in size]
    noise = torch.randn(batch, channels, *coarse, generator=generator)
    return F.interpolate(noise, size, mode='bilinear', align_corners=False)


def step(method: ACAM, student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss of one level."""
    view = View.plain(teacher, None)
    return torch.stack(list(method([student], [teacher], view).values())).sum()


def measure(
    size: Size, channels: int, batch: int, factors: list[int], rounds: int, device: str
) -> list[dict[str, Any]]:
    """Measure every form on random maps of one size and return a row for each.

    Differences are the largest ones from the naive form, each tensor's relative to its largest
    entry. Only an accelerator has a growth of the peak memory.
    """
    generator = torch.Generator().manual_seed(0)
    teacher, student = (smooth_map(batch, channels, size, generator).to(device) for _ in range(2))
    student.requires_grad_()
    forms = make_forms(teacher, student, factors)
    rows: dict[str, dict[str, Any]] = {}
    reference: list[Tensor] = []
    for name, method in forms.items():
        before = reset_peak(device)
        loss, kept = saved_bytes(partial(step, method, student, teacher))
        gradients = torch.autograd.grad(loss, [student, *method.parameters()])
        peak = None if before is None else torch.cuda.max_memory_allocated() - before
        results = [loss.detach(), *gradients]
        reference = reference or results
        loss_off, student_off, *weights_off = [
            float((a - b).abs().max() / b.abs().max()) for a, b in zip(results, reference)
        ]
        differences = dict(zip(DIFFERENCES, (loss_off, student_off, max(weights_off))))
        about = dict(height=size[0], width=size[1], form=name, saved_bytes=kept, peak_bytes=peak)
        rows[name] = {**about, **differences}
        del loss, gradients, results
    runs = {name: partial(train, method, student, teacher) for name, method in forms.items()}
    times = time_in_turns(runs, rounds)
    for name, row in rows.items():
        row['seconds'] = statistics.median(times[name])
    return list(rows.values())


def train(method: ACAM, student: Tensor, teacher: Tensor) -> None:
    """Perform one forward and backward pass."""
    torch.autograd.grad(step(method, student, teacher), [student, *method.parameters()])


def reset_peak(device: str) -> int | None:
    """Reset the peak memory of an accelerator and return the memory in use; None for a CPU."""
    if torch.device(device).type != 'cuda':
        return None
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Print the rows as one table."""
    names = ['kept for backward', 'of naive', 'peak growth', 'time']
    names += ['Δ loss', 'Δ ∂ student', 'Δ ∂ weights']
    columns = [Column(name, justify='right') for name in names]
    table = Table('map', 'form', *columns, title=title, title_justify='left')
    naive = {(row['height'], row['width']): row for row in rows if row['form'] == 'naive'}
    for row in rows:
        size = (row['height'], row['width'])
        ratio = row['saved_bytes'] / naive[size]['saved_bytes']
        peak = '–' if row['peak_bytes'] is None else f'{row["peak_bytes"] / MIB:.0f} MiB'
        cells = [f'{size[0]}×{size[1]}', row['form'], f'{row["saved_bytes"] / MIB:.1f} MiB']
        cells += [f'1/{1 / ratio:.1f}', peak, f'{row["seconds"]:.3f} s']
        cells += [f'{row[key]:.0e}' for key in DIFFERENCES]
        table.add_row(*cells, end_section=row['form'] == rows[-1]['form'])
    Console(width=120).print(table)
