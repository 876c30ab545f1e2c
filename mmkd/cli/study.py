"""Run the rows of a study with several seeds and tabulate mean ± standard deviation.

A study is a YAML file (configs/studies/*.yml) with these keys:

- rows: a list of names with a config each, and options as --cfg-options takes them;
- metric, scale: the metric of the table for val and test, and a factor (1);
- also: more metrics, tabulated for the last split only;
- teacher: config of the teacher, trained first; none without;
- stages: what some rows need trained first, such as masks or another teacher, as in a recipe
  (tools/recipe.py): $name in options is the checkpoint of the stage of that name. Stages with a
  name are tabulated. A row may have stages of its own, trained anew for every seed;
- options: options of all rows (and their stages), before their own;
- _base_: another study, whose keys are inherited.

Finished runs are skipped, so the same command continues a study. Runs have OMP_NUM_THREADS threads,
or share the processors if it is not set. The table has the difference to the first row, seed by
seed, with its 95 % interval. "gradient ÷ task" is that of all distillation losses in the first-step
report: in the first step, and after 5 %. "peak MiB" is the largest resident set of the training
process, the median over the seeds.
"""

from __future__ import annotations

import os
import statistics
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.fileio import dump, load

from mmkd.cli.common import config_path, make_parser, read_config, study_rows
from mmkd.cli.stages import Stage, fill_in, read_stages, run_once, run_stages
from mmkd.utils import ConfigError
from mmkd.utils.student_config import required

Result = dict[str, Any]
# 97.5 % quantiles of Student's t distribution for 2, 3, … values.
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def parse_args() -> Namespace:
    """Return the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('study', help='path of a study')
    add('--seeds', type=int, nargs='+', default=[0, 1, 2])
    add('--rows', nargs='+', help='only these rows')
    add('--jobs', type=int, default=2, help='runs at a time')
    add('--test', action='store_true', help='evaluate the test split too; choose settings without')
    add('--work-dir', default='work_dirs/studies')
    add('--json', help='write the results to this file as well')
    add('--table', action='store_true', help='only tabulate the finished runs')
    return parser.parse_args()


def main() -> None:
    """Run the study."""
    args = parse_args()
    study = read_config(args.study, key='study').to_dict()
    root = Path(args.work_dir, Path(config_path(args.study)).stem)
    required(study, 'metric', f'{args.study!r} has none')
    rows = {row['name']: row for row in study_rows(study, args.study)}
    unknown = set(args.rows or []) - set(rows)
    if unknown:
        raise ConfigError('--rows', f'no rows {sorted(unknown)}; there are {sorted(rows)}')
    for row in rows.values():
        row['config'] = config_path(row['config'], f'rows.{row["name"]}.config')
    stages = shared_stages(study)
    entries = [entry for entry in study.get('stages', []) if isinstance(entry, dict)]
    named = [entry['name'] for entry in entries if 'name' in entry]
    shown = [stage for stage in stages if stage.name in ('teacher', *named)]
    if not args.table:
        made = run_shared(stages, shown, args.test)
        chosen = [row for name, row in rows.items() if not args.rows or name in args.rows]
        run_rows(chosen, study.get('options', {}), made, root, args)
    folders = {stage.name: stage.work_dir.glob('result.json') for stage in shown}
    folders.update({name: (root / name).glob('*/result.json') for name in rows})
    found = {name: [load(file) for file in sorted(files)] for name, files in folders.items()}
    results = {name: runs for name, runs in found.items() if runs}
    table = format_table(study, results, args.test)
    root.mkdir(parents=True, exist_ok=True)
    (root / 'table.md').write_text(table + '\n')
    if args.json:
        kept = {
            name: [{k: v for k, v in run.items() if k != 'checkpoint'} for run in runs]
            for name, runs in results.items()
        }
        dump(kept, args.json, 'json', indent=1)
    print(table)


def shared_stages(study: Mapping[str, Any]) -> list[Stage]:
    """Return the stages of all rows, the teacher first, where the configs look for it."""
    stages = read_stages(study.get('stages', []))
    if study.get('teacher'):
        config = config_path(study['teacher'], 'teacher')
        folder = Path('work_dirs/teachers', Path(config).stem)
        stages.insert(0, Stage('teacher', config, folder / 'study', folder / 'teacher.pth'))
    return stages


def run_shared(stages: Sequence[Stage], shown: Sequence[Stage], test: bool) -> dict[str, str]:
    """Run the stages of all rows; evaluate the test split of those in the table, if required."""
    threads = threads_per_run(1)

    def train(config: str, options: dict[str, Any], work_dir: Path) -> Path:
        return Path(run_once(seeded(config, options, 0), work_dir, False, threads)['checkpoint'])

    made = run_stages(stages, train)
    for stage in shown:
        if (stage.work_dir / 'result.json').exists():
            options = fill_in(stage.options, made, stage.name)
            run_once(seeded(stage.config, options, 0), stage.work_dir, test, threads)
    return made


def run_rows(
    rows: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    made: Mapping[str, str],
    root: Path,
    args: Namespace,
) -> None:
    """Run rows with every seed, several at a time.

    ``made`` holds the checkpoints of the shared stages, ``root`` is the folder of the study.
    """
    threads = threads_per_run(max(args.jobs, 2))

    def run_row(row: Mapping[str, Any], seed: int) -> None:
        work_dir = root / row['name'] / f'seed{seed}'

        def train(config: str, own: dict[str, Any], folder: Path) -> Path:
            task = seeded(config, {**options, **own}, seed)
            return Path(run_once(task, folder, False, threads)['checkpoint'])

        known = run_stages(read_stages(row.get('stages', []), work_dir), train, made)
        filled = fill_in({**options, **row.get('options', {})}, known, row['name'])
        run_once(seeded(row['config'], filled, seed), work_dir, args.test, threads)

    started = time.time()
    with ThreadPoolExecutor(args.jobs) as pool:
        # Seeds outside: an interrupted study has whole rounds of all rows.
        futures = [
            (f'{row["name"]} seed {seed}', pool.submit(run_row, row, seed))
            for seed in args.seeds
            for row in rows
        ]
        for name, future in futures:
            future.result()
            print(f'{time.time() - started:6.0f} s  {name} done', flush=True)


def seeded(config: str, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the task of a run."""
    return dict(config=config, options={**options, 'randomness.seed': seed})


def threads_per_run(jobs: int) -> int:
    """Return OMP_NUM_THREADS, if it is set, or each job's share of the processors."""
    given = os.environ.get('OMP_NUM_THREADS')
    return int(given) if given else max((os.cpu_count() or 2) // jobs, 1)


def format_table(study: Mapping[str, Any], results: Mapping[str, list[Result]], test: bool) -> str:
    """Return a Markdown table of the rows that have results.

    The difference to the study's first row is that of runs with the same seed, with its 95 %
    interval. "gradient ÷ task" is that of the first-step report: in the first step, and after 5 %.
    """
    metric, scale = study['metric'], study.get('scale', 1.0)
    splits = ['val', 'test'] if test else ['val']
    columns = [(split, metric, scale) for split in splits]
    also = [(splits[-1], other, 1.0) for other in study.get('also', [])]
    first = next((row['name'] for row in study['rows'] if row['name'] in results), '')
    head = [f'{split} {name}' for split, name, _ in columns]
    head += [f'{splits[-1]} − {first}', *(f'{split} {name}' for split, name, _ in also)]
    reported = any('gradient_to_task' in run for runs in results.values() for run in runs)
    head += ['gradient ÷ task'] if reported else []
    lines = [f'| row | {" | ".join(head)} | seeds | peak MiB |', '|---|' + '---|' * (len(head) + 2)]
    for name, runs in results.items():
        cells = [
            format_spread(
                [run[split][metric] * scale for run in runs if metric in run.get(split, {})]
            )
            for split, metric, scale in columns + also
        ]
        plain = {} if name == first else by_seed(results.get(first, []), splits[-1], metric, scale)
        own = by_seed(runs, splits[-1], metric, scale)
        gains = [own[seed] - plain[seed] for seed in own if seed in plain]
        cells.insert(len(columns), format_gain(gains))
        cells += [format_shares(runs)] if reported else []
        peaks = [run['peak_rss_mib'] for run in runs if 'peak_rss_mib' in run]
        peak = f'{statistics.median(peaks):.0f}' if peaks else '–'
        lines.append(f'| {name} | {" | ".join(cells)} | {len(runs)} | {peak} |')
    return '\n'.join(lines)


def by_seed(runs: Sequence[Result], split: str, metric: str, scale: float) -> dict[int, float]:
    """Return the metric of every run by its seed."""
    return {
        run.get('options', {}).get('randomness.seed', 0): run[split][metric] * scale
        for run in runs
        if metric in run.get(split, {})  # a detector that finds nothing has no mAP
    }


def format_gain(gains: Sequence[float]) -> str:
    """Return the mean of paired differences and the half width of its 95 % interval."""
    if len(gains) < 2:
        return ''
    half = QUANTILES[min(len(gains), len(QUANTILES)) - 2] * statistics.stdev(gains)
    return f'{statistics.mean(gains):+.2f} ± {half / len(gains) ** 0.5:.2f}'


def format_shares(runs: Sequence[Result]) -> str:
    """Return the gradient of all distillation losses ÷ the task's, by step of the first report."""
    reported = (run['gradient_to_task'] for run in runs if 'gradient_to_task' in run)
    reports: dict[str, Any] = next(reported, {})
    return ', '.join(f'{shares["distillation, all"]:.2g}' for shares in reports.values())


def format_spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation of a sample."""
    if len(values) < 2:
        return f'{values[0]:.2f}' if values else '–'
    return f'{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}'
