"""Table, pictures and files of the quickstart."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmkd.cli.export import export_student
from mmkd.cli.plots import plot_losses, plot_predictions
from mmkd.utils.loading import build_plain
from mmkd.utils.student_config import plain_config

STUDENT = 'student'
# Of each task: column title, name of the metric, factor. The first decides.
METRICS = dict(
    det=(('mAP', 'coco/bbox_mAP', 100), ('mAP50', 'coco/bbox_mAP_50', 100)),
    seg=(('mIoU', 'mIoU', 1), ('mAcc', 'mAcc', 1)),
    cls=(('top-1', 'accuracy/top1', 1),),
)
TASKS = tuple(METRICS)
TITLES = dict(
    pskd='PS-KD', kd='KD', ips='IPS'
)  # of methods, where that is not the name of the folder


@dataclass
class Run:
    """One training run.

    Attributes:
        name: Name in tables and pictures, and of its folder.
        config: Path of its config.
        options: What is different from the config.
    """

    name: str
    config: str
    options: dict[str, Any]

    def cfg(self) -> Config:
        """Return the whole config."""
        cfg = Config.fromfile(self.config)
        cfg.merge_from_dict(self.options)
        return cfg


def report(
    task: str,
    method: str,
    root: Path,
    runs: Mapping[str, Run],
    results: Mapping[str, dict[str, Any]],
    seed: int,
    seconds: float,
    console: Console,
) -> None:
    """Print the table, and write it with the pictures, the numbers and the student."""
    columns = ['model', *(title for title, _, _ in METRICS[task])]
    columns += ['parameters', 'training time', 'KD − student']
    rows = [row_of(task, name, method, runs, results) for name in runs]
    table = Table(title=f'Quickstart, {task}: test split of the generated data, seed {seed}')
    for column in columns:
        table.add_column(column, justify='left' if column == 'model' else 'right')
    for row in rows:
        table.add_row(*row)
    note = (
        'Both students have the same data, schedule, iterations and seed. It is one seed on a '
        'small set: a difference of about a point means nothing.'
    )
    lines = [f'| {" | ".join(row)} |' for row in (columns, ['---'] * len(columns), *rows)]
    header = f'# Quickstart, {task}: test split of the generated data, seed {seed}\n\n'
    (root / 'table.md').write_text(header + '\n'.join(lines) + f'\n\n{note}\n')
    content = dict(
        task=task,
        method=method,
        seed=seed,
        difference=difference(task, method, results),
        runs={
            name: dict(
                config=runs[name].config,
                options=runs[name].options,
                parameters=parameters(runs[name]),
                **{k: v for k, v in results[name].items() if k not in ('config', 'options')},
            )
            for name in runs
        },
    )
    (root / 'results.json').write_text(json.dumps(content, indent=1) + '\n')
    titles = {name: titled(name, method) for name in runs}
    plot_losses({titles[name]: root / 'runs' / name for name in runs}, root / 'losses.png')
    models = {titles[name]: (runs[name].cfg(), results[name]['checkpoint']) for name in runs}
    plot_predictions(models, root / 'predictions.png', images=6 if task == 'cls' else 4)
    weights, config = export_student(
        results[method]['checkpoint'], root / 'student.pth', runs[method].cfg(), hashed=False
    )
    console.print()
    console.print(table)
    console.print(note)
    console.print(
        f'\n{seconds:.0f} s in all. {root} has table.md, results.json, losses.png and '
        f'predictions.png, and the distilled student as {weights.name} and {config.name}, which '
        'need no mmkd.',
        highlight=False,
    )


def row_of(
    task: str,
    name: str,
    method: str,
    runs: Mapping[str, Run],
    results: Mapping[str, dict[str, Any]],
) -> list[str]:
    """Return one row of the table."""
    values = [metric(results[name], key, factor) for _, key, factor in METRICS[task]]
    gain = difference(task, method, results) if name == method else None
    return [
        titled(name, method),
        *('–' if math.isnan(value) else f'{value:.1f}' for value in values),
        f'{parameters(runs[name]) / 1e6:.2f} M',
        f'{results[name]["seconds"]:.0f} s',
        '' if gain is None or math.isnan(gain) else f'{gain:+.1f}',
    ]


def titled(name: str, method: str) -> str:
    """Return what a run is called in the table and the pictures."""
    return f'student + {TITLES.get(name, name)}' if name == method else name


def metric(result: Mapping[str, Any], key: str, factor: float) -> float:
    """Return a test metric; NaN where the evaluation gave none (no box was predicted)."""
    return result['test'].get(key, float('nan')) * factor


def difference(task: str, method: str, results: Mapping[str, dict[str, Any]]) -> float:
    """Return the deciding metric of the distilled student minus that of the plain one."""
    _, key, factor = METRICS[task][0]
    return metric(results[method], key, factor) - metric(results[STUDENT], key, factor)


def parameters(run: Run) -> int:
    """Return the number of parameters of a run's model, without teacher and adapters."""
    return sum(p.numel() for p in build_plain(plain_config(run.cfg()), 'model').parameters())
