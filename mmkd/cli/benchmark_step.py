"""Measure the distillation tax: the time of a distillation step over that of the plain step.

The steps are interleaved; teachers have random weights and batches are synthetic, so neither
checkpoints nor data are needed. docs/performance.md explains the columns.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import dump
from rich.console import Console
from rich.table import Column, Table
from torch import nn

from mmkd.cli.benchmarking import Bench, Setting, peak_memory, read_teachers
from mmkd.cli.common import (
    Run,
    add_config_options,
    check_device,
    config_path,
    make_parser,
    read_config,
    study_rows,
)
from mmkd.cli.inputs import NO_GPU
from mmkd.cli.timing import MIB, Place, clocks, half_range, saved_bytes, time_in_turns
from mmkd.models.distiller import Distiller
from mmkd.models.teacher import KEY
from mmkd.utils.checks import integer
from mmkd.utils.errors import ConfigError
from mmkd.utils.student_config import is_distilled

MARGIN = 1.15  # of a method's step over the student's step and the teacher's forward together
TOGETHER = 4  # distilled students that are in memory at once
PARTS = ('mixer', 'teacher', 'taps', 'methods', 'backward', 'optimizer')


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('configs', nargs='+', help='distillation configs, or paths of studies')
    add('--device', default='cpu', help='cpu or cuda')
    add('--size', type=int, nargs=2, default=(320, 320), metavar=('H', 'W'))
    add('--batch-size', type=int, default=2)
    add('--repeat', type=int, default=15, help='measured steps')
    add('--warmup', type=int, default=3)
    add('--amp', action='store_true', help='autocast for the student')
    add(
        '--iteration',
        type=int,
        help='measure the step of this iteration; by default the first one with full weights',
    )
    add('--no-memory', action='store_true', help='skip the processes that measure peak memory')
    add_config_options(parser)
    add('--json', type=Path, help='write the rows to this file as well')
    args = parser.parse_args()
    if args.amp and args.device == 'cpu':
        raise ConfigError('--amp', NO_GPU)
    for name in ('batch_size', 'repeat'):
        integer(1, **{f'--{name.replace("_", "-")}': getattr(args, name)})
    integer(1, **{'--size': min(args.size)})
    check_device(args.device)
    setting = Setting(args.device, tuple(args.size), args.batch_size, args.amp, args.iteration)
    runs = list(find_runs(args.configs, args.cfg_options))
    rows = benchmark(runs, setting, args.repeat, args.warmup, not args.no_memory)
    print_rows(rows)
    if args.json:
        dump(rows, args.json, 'json', indent=1)


def find_runs(configs: Sequence[str], options: Mapping[str, Any] | None = None) -> Iterator[Run]:
    """Yield the distillation configs to measure, and the rows of studies that distill.

    Raises:
        ConfigError: A config has no distillation.
    """
    more = dict(options or {})
    for name in configs:
        cfg = read_config(name)
        path = Path(config_path(name))
        if path.suffix in ('.yml', '.yaml'):
            for row in study_rows(cfg, name):
                own = row.get('options', {})
                config = config_path(row['config'], f'rows.{row["name"]}.config')
                if is_distilled(read_config(config)) and own.get(KEY, True):
                    yield Run(row['name'], config, {**own, **more})
        elif is_distilled(cfg):
            yield Run(f'{path.parent.name}/{path.stem}', str(path), more)
        else:
            raise ConfigError('config', f'{name} is no distillation config')


@dataclass
class Candidate:
    """A step that is measured: of a plain student, a teacher (no model), or a distilled student."""

    name: str
    step: Callable[[], Any]
    places: Sequence[Place] = ()
    model: nn.Module | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    def ratios(self, other: Candidate) -> list[float]:
        """Return the ratio of every step to the other's step of the same round."""
        return [a / b for a, b in zip(self.seconds, other.seconds)]

    def saved_mib(self) -> float | None:
        """Return the MiB that autograd keeps for the backward pass, parameters excluded."""
        if self.model is None:
            return None
        return saved_bytes(self.step, self.model.parameters())[1] / MIB

    def parts(self, repeat: int) -> dict[str, float]:
        """Return the median seconds of the parts of a step."""
        runs: list[dict[str, float]] = []
        with clocks(self.places) as spent:
            for _ in range(repeat if self.places else 0):
                spent.clear()
                self.step()
                runs.append(dict(spent))
        names = {name for run in runs for name in run}
        return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


def benchmark(
    runs: Sequence[Run], setting: Setting, repeat: int, warmup: int, memory: bool
) -> list[dict[str, Any]]:
    """Measure distillation steps and return a row for each candidate.

    The plain student is measured beside every few distilled ones, in the same rounds, and each of
    them is compared to the plain step of its own round. docs/performance.md explains the entries.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(Bench(run, setting).plain_cfg.model), []).append(run)
    rows: list[dict[str, Any]] = []
    for group in groups.values():
        plain_peak = peak_memory(group[0], setting, False) if memory else None
        for start in range(0, len(group), TOGETHER):
            some = group[start : start + TOGETHER]
            found = measure_together(some, setting, repeat, warmup)
            found[0]['peak_mib'] = plain_peak
            for run, row in zip(some, (row for row in found if row['kind'] == 'distilled')):
                row['peak_mib'] = peak_memory(run, setting, True) if memory else None
            rows += found[bool(start) :]
    return rows


def measure_together(
    runs: Sequence[Run], setting: Setting, repeat: int, warmup: int
) -> list[dict[str, Any]]:
    """Measure configs with the same student in turns, and return its row and theirs."""
    benches = [Bench(run, setting) for run in runs]
    student = benches[0].student()
    plain = Candidate('plain student', *benches[0].step(student), student)
    found: list[tuple[Candidate, dict[str, Any]]] = [(plain, dict(kind='student'))]
    distillers: list[tuple[Candidate, Distiller, Candidate | None]] = []
    for run, bench in zip(runs, benches):
        model = bench.distilled()
        distiller: Distiller = model.distiller
        about = dict(config=run.config, options=run.options)
        alone = None
        if read_teachers(distiller):
            alone = Candidate(f'{run.name}: teacher alone', bench.teach(distiller))
            found.append((alone, dict(kind='teacher', **about)))
        candidate = Candidate(run.name, *bench.step(model), model)
        found.append((candidate, dict(kind='distilled', **about)))
        distillers.append((candidate, distiller, alone))
    steps = {str(number): candidate.step for number, (candidate, _) in enumerate(found)}
    for seconds, (candidate, _) in zip(time_in_turns(steps, repeat, warmup).values(), found):
        candidate.seconds = seconds
    plain_saved = plain.saved_mib()
    rows = []
    for candidate, about in found:
        saved = plain_saved if candidate is plain else candidate.saved_mib()
        parts = candidate.parts(max(repeat // 2, 3))
        measured = dict(saved_mib=saved, plain_saved_mib=plain_saved, peak_mib=None, parts=parts)
        rows.append({**describe(candidate, plain, setting, about), **measured})
        for own, distiller, alone in distillers:
            if own is candidate:
                teacher = alone.median / plain.median if alone else 0.0
                rows[-1].update(allowed=MARGIN * (1 + teacher), **describe_teachers(distiller))
    return rows


def describe(
    candidate: Candidate, plain: Candidate, setting: Setting, about: dict[str, Any]
) -> dict[str, Any]:
    """Return the times of a candidate and their setting."""
    ratios = candidate.ratios(plain)
    device = torch.device(setting.device)
    named = torch.cuda.get_device_name(device) if device.type == 'cuda' else processor()
    return dict(
        name=candidate.name,
        **about,
        seconds=candidate.median,
        spread=half_range(candidate.seconds) / candidate.median,
        plain_seconds=plain.median,
        tax=statistics.median(ratios),
        tax_spread=half_range(ratios),
        size=list(setting.size),
        batch_size=setting.batch_size,
        amp=setting.amp,
        device=device.type,
        device_name=named,
        threads=torch.get_num_threads(),
        rounds=len(candidate.seconds),
    )


def processor() -> str:
    """Return the name of the processor, as far as the system knows it."""
    cpus = Path('/proc/cpuinfo')
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def describe_teachers(distiller: Distiller) -> dict[str, Any]:
    """Return parameters, form and size of the tapped tensors of the teachers."""
    teachers = read_teachers(distiller)
    return dict(
        teacher_parameters=sum(p.numel() for t in teachers for p in t.model.parameters()),
        teacher_form='; '.join(t.describe() for t in teachers),
        tapped_mib=sum(t.tapped_bytes for t in teachers) / MIB,
    )


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the rows of :func:`benchmark` as a table."""
    names = ('median s', '± %', 'tax', '±', 'allowed', 'saved MiB', 'peak MiB')
    columns = [Column(name, justify='right') for name in (*names, *(f'{p} s' for p in PARTS))]
    title = 'Distillation tax'
    table = Table(Column('step', no_wrap=True), *columns, title=title, title_justify='left')
    for row in rows:
        numbers = [(row['seconds'], 4), (100 * row['spread'], 0)]
        numbers += [(row.get(key), 2) for key in ('tax', 'tax_spread', 'allowed')]
        numbers += [(row[key], 0) for key in ('saved_mib', 'peak_mib')]
        numbers += [(row['parts'].get(part), 4) for part in PARTS]
        table.add_row(row['name'], *('' if n is None else f'{n:.{d}f}' for n, d in numbers))
    Console(width=180).print(table)
