"""The distillation tax: what a training step costs with and without distillation."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmkd.cli.bench import Bench, Setting, Spec
from mmkd.cli.measure import MIB, PARTS, Candidate, half_range, measure
from mmkd.cli.step_memory import peak_memory
from mmkd.models.distiller import Distiller
from mmkd.models.teacher import KEY
from mmkd.utils.errors import ConfigError
from mmkd.utils.student_config import is_distilled

MARGIN = 1.15  # of a method's step over the student's step and the teacher's forward together
TOGETHER = 4  # distilled students that are in memory at once


def benchmark(
    configs: Sequence[str],
    setting: Setting,
    repeat: int = 15,
    warmup: int = 3,
    options: Mapping[str, Any] | None = None,
    memory: bool = True,
) -> list[dict[str, Any]]:
    """Measure the distillation steps of configs.

    The plain student is measured beside every few distilled ones, in the same rounds, and each of
    them is compared to the plain step of its own round.

    Args:
        configs: Paths of distillation configs, or of studies (``.yml``), whose rows with a teacher
            or a mixer are measured.
        setting: Device, size and so on.
        repeat: Measured steps. Defaults to 15.
        warmup: Steps before the first measured one. Defaults to 3.
        options: Overrides of every config. Defaults to None.
        memory: Whether to measure the peak memory, each in a process of its own. Defaults to True.

    Returns:
        One row for each candidate; docs/performance.md says what is in it.

    Raises:
        ConfigError: A config is none of distillation.
    """
    groups: dict[str, list[Spec]] = {}
    for spec in specs_of(configs, options):
        groups.setdefault(repr(Bench(spec, setting).plain_cfg.model), []).append(spec)
    rows: list[dict[str, Any]] = []
    for specs in groups.values():
        plain_peak = peak_memory(specs[0], setting, False) if memory else None
        for start in range(0, len(specs), TOGETHER):
            some = specs[start : start + TOGETHER]
            found = measure_together(some, setting, repeat, warmup)
            found[0]['peak_mib'] = plain_peak
            for spec, row in zip(some, (row for row in found if row['kind'] == 'distilled')):
                row['peak_mib'] = peak_memory(spec, setting, True) if memory else None
            rows += found[bool(start) :]
    return rows


def measure_together(
    specs: Sequence[Spec], setting: Setting, repeat: int, warmup: int
) -> list[dict[str, Any]]:
    """Measure configs of one student in turns, and return its row and theirs."""
    benches = [Bench(spec, setting) for spec in specs]
    student = benches[0].student()
    plain = Candidate('plain student', benches[0].step(student), student)
    found: list[tuple[Candidate, dict[str, Any]]] = [(plain, dict(kind='student'))]
    distillers: list[tuple[Candidate, Distiller, Candidate | None]] = []
    for spec, bench in zip(specs, benches):
        model = bench.distilled()
        distiller: Distiller = model.distiller
        about = dict(config=spec.path, options=spec.options)
        alone = None
        if any(t.reader is not None and t.reader.taps for t in distiller.teachers.values()):
            alone = Candidate(f'{spec.name}: teacher alone', bench.teach(distiller))
            found.append((alone, dict(kind='teacher', **about)))
        candidate = Candidate(spec.name, bench.step(model), model)
        found.append((candidate, dict(kind='distilled', **about)))
        distillers.append((candidate, distiller, alone))
    measure([candidate for candidate, _ in found], benches[0].device, repeat, warmup)
    details = {id(c): (d, alone) for c, d, alone in distillers}
    rows = []
    for candidate, about in found:
        row = row_of(candidate, plain, setting, about)
        if id(candidate) in details:
            distiller, alone = details[id(candidate)]
            teacher = alone.median / plain.median if alone else 0.0
            row.update(allowed=MARGIN * (1 + teacher), **teacher_of(distiller))
        rows.append(row)
    return rows


def row_of(
    candidate: Candidate, plain: Candidate, setting: Setting, about: dict[str, Any]
) -> dict[str, Any]:
    """Return what was measured of one candidate."""
    ratios = candidate.ratios(plain)
    middle = Candidate('', candidate.run, seconds=ratios).median
    device = torch.device(setting.device)
    named = torch.cuda.get_device_name(device) if device.type == 'cuda' else processor()
    return dict(
        name=candidate.name,
        **about,
        seconds=candidate.median,
        spread=candidate.spread,
        plain_seconds=plain.median,
        tax=middle,
        tax_spread=half_range(ratios),
        saved_mib=candidate.saved_mib,
        plain_saved_mib=plain.saved_mib,
        peak_mib=None,
        parts=candidate.parts,
        size=list(setting.size),
        batch_size=setting.batch_size,
        amp=setting.amp,
        device=device.type,
        device_name=named,
        threads=torch.get_num_threads(),
        rounds=len(candidate.seconds),
    )


def processor() -> str:
    """Return the name of the processor, where the system tells."""
    cpus = Path('/proc/cpuinfo')
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def teacher_of(distiller: Distiller) -> dict[str, Any]:
    """Return what is to know of the teachers: parameters, form, size of what is tapped."""
    read = [t for t in distiller.teachers.values() if t.reader is not None and t.reader.taps]
    parameters = sum(p.numel() for t in read for p in t.model.parameters())
    return dict(
        teacher_parameters=parameters,
        teacher_form='; '.join(t.describe() for t in read),
        tapped_mib=sum(t.tapped_bytes for t in read) / MIB,
    )


def specs_of(paths: Sequence[str], options: Mapping[str, Any] | None = None) -> Iterator[Spec]:
    """Yield every distillation step that is to be measured.

    Raises:
        ConfigError: A config is none of distillation.
    """
    more = dict(options or {})
    for path in paths:
        if Path(path).suffix in ('.yml', '.yaml'):
            for row in yaml.safe_load(Path(path).read_text())['rows']:
                own = row.get('options', {})
                if is_distilled(Config.fromfile(row['config'])) and own.get(KEY, True):
                    yield Spec(row['name'], row['config'], {**own, **more})
        elif is_distilled(Config.fromfile(path)):
            yield Spec(f'{Path(path).parent.name}/{Path(path).stem}', path, more)
        else:
            raise ConfigError('config', f'{path} is no distillation config')


def print_rows(rows: list[dict[str, Any]], console: Console | None = None) -> None:
    """Print the rows of :func:`benchmark` as a table."""
    table = Table(title='Distillation tax', title_justify='left')
    table.add_column('step', no_wrap=True)
    columns = ('median s', '± %', 'tax', '±', 'allowed', 'saved MiB', 'peak MiB')
    for column in (*columns, *(f'{p} s' for p in PARTS)):
        table.add_column(column, justify='right')
    for row in rows:
        allowed = row.get('allowed')
        table.add_row(
            row['name'],
            f'{row["seconds"]:.4f}',
            f'{100 * row["spread"]:.0f}',
            f'{row["tax"]:.2f}',
            f'{row["tax_spread"]:.2f}',
            '' if allowed is None else f'{allowed:.2f}',
            *('' if row[m] is None else f'{row[m]:.0f}' for m in ('saved_mib', 'peak_mib')),
            *(f'{row["parts"][p]:.4f}' if p in row['parts'] else '' for p in PARTS),
        )
    (console or Console(width=180)).print(table)
