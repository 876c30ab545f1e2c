"""Run the rows of a study with several seeds and tabulate mean ± standard deviation.

A study is a YAML file (configs/studies/*.yml) with these keys:

- rows: a list of names with a config each, and options as --cfg-options takes them;
- metric, scale: what is tabulated for val and test, and by what it is multiplied (1);
- also: more metrics, tabulated for the last split only;
- teacher: config of the teacher, trained first; none without;
- stages: what some rows need trained first, such as masks or another teacher, as in a recipe
  (tools/recipe.py): $name in options is the checkpoint of the stage of that name. Stages with a
  name are tabulated. A row may have stages of its own, trained anew for every seed;
- options: options of all rows (and their stages), before their own;
- _base_: another study, whose keys are inherited.

Finished runs are skipped, so the same command continues a study. Runs have OMP_NUM_THREADS threads,
or share the processors if it is not set. "peak MiB" is the largest resident
set of the training process, the median over the seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmkd.cli.launch import run_tool
from mmkd.cli.stages import Stage, filled, read_stages, run_stages
from mmkd.utils import ConfigError


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('study', help='path of a study')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', help='only these rows')
    parser.add_argument('--jobs', type=int, default=2, help='runs at a time')
    parser.add_argument(
        '--test', action='store_true', help='evaluate the test split too; choose settings without'
    )
    parser.add_argument('--work-dir', default='work_dirs/studies')
    parser.add_argument('--json', help='write the results to this file as well')
    parser.add_argument('--table', action='store_true', help='only tabulate what is done')
    return parser.parse_args()


def run_one(
    config: str, options: dict[str, Any], work_dir: Path, seed: int, test: bool, threads: int
) -> dict[str, Any]:
    """Train one run in a process of its own, unless it is done, and return its result."""
    result_file = work_dir / 'result.json'
    result = json.loads(result_file.read_text()) if result_file.exists() else {}
    if 'val' in result and ('test' in result or not test):
        return result
    work_dir.mkdir(parents=True, exist_ok=True)
    task = dict(config=config, options={**options, 'randomness.seed': seed}, test=test)
    with open(work_dir / 'log.txt', 'a') as log:
        process = subprocess.run(
            [sys.executable, '-m', 'mmkd.cli.study_run', str(work_dir), json.dumps(task)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)},
        )
    if process.returncode:
        raise ConfigError('study', f'{config} (seed {seed}) failed; see {work_dir}/log.txt')
    return json.loads(result_file.read_text())


def threads_of_a_run(jobs: int) -> int:
    """Return OMP_NUM_THREADS, if it is set, or each job's share of the processors."""
    given = os.environ.get('OMP_NUM_THREADS')
    return int(given) if given else max((os.cpu_count() or 2) // jobs, 1)


def stages_of(study: dict[str, Any]) -> list[Stage]:
    """Return the stages of all rows, the teacher first, where the configs look for it."""
    stages = read_stages(study.get('stages', []))
    if study.get('teacher'):
        folder = Path('work_dirs/teachers') / Path(study['teacher']).stem
        stages.insert(
            0, Stage('teacher', study['teacher'], folder / 'study', folder / 'teacher.pth')
        )
    return stages


def run_shared(stages: list[Stage], shown: list[str], test: bool) -> dict[str, str]:
    """Run the stages of all rows; evaluate the test split of those in the table, if asked."""
    threads = threads_of_a_run(1)

    def train(config: str, options: dict[str, Any], work_dir: Path) -> Path:
        return Path(run_one(config, options, work_dir, 0, False, threads)['checkpoint'])

    made = run_stages(stages, train)
    for stage in stages:
        if stage.name in shown and (stage.work_dir / 'result.json').exists():
            options = filled(stage.options, made, stage.name)
            run_one(stage.config, options, stage.work_dir, 0, test, threads)
    return made


def run_row(
    row: dict[str, Any],
    options: dict[str, Any],
    made: dict[str, str],
    work_dir: Path,
    seed: int,
    test: bool,
    threads: int,
) -> dict[str, Any]:
    """Run one row with one seed: its own stages, then its config."""

    def train(config: str, own: dict[str, Any], folder: Path) -> Path:
        result = run_one(config, {**options, **own}, folder, seed, False, threads)
        return Path(result['checkpoint'])

    made = run_stages(read_stages(row.get('stages', []), work_dir), train, made)
    options = filled({**options, **row.get('options', {})}, made, row['name'])
    return run_one(row['config'], options, work_dir, seed, test, threads)


def tabulate(study: dict[str, Any], results: dict[str, list[dict[str, Any]]], test: bool) -> str:
    """Return a Markdown table of the rows that have results."""
    metric = study['metric']
    splits = ['val', 'test'] if test else ['val']
    columns = [(split, metric, study.get('scale', 1.0)) for split in splits]
    columns += [(splits[-1], also, 1.0) for also in study.get('also', [])]
    head = ' | '.join(f'{split} {name}' for split, name, _ in columns)
    lines = [
        f'| row | {head} | seeds | peak MiB |',
        '|---|' + '---|' * (len(columns) + 2),
    ]
    for name, runs in results.items():
        cells = [
            spread([run[split][metric] for run in runs if split in run], scale)
            for split, metric, scale in columns
        ]
        peaks = [run['peak_rss_mib'] for run in runs if 'peak_rss_mib' in run]
        peak = f'{statistics.median(peaks):.0f}' if peaks else '–'
        lines.append(f'| {name} | {" | ".join(cells)} | {len(runs)} | {peak} |')
    return '\n'.join(lines)


def spread(values: list[float], scale: float) -> str:
    """Return mean ± standard deviation of a sample."""
    if not values:
        return '–'
    values = [v * scale for v in values]
    if len(values) == 1:
        return f'{values[0]:.2f}'
    return f'{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}'


def main() -> None:
    """Run the study."""
    args = parse_args()
    study = Config.fromfile(args.study).to_dict()
    root = Path(args.work_dir) / Path(args.study).stem
    threads = threads_of_a_run(max(args.jobs, 2))
    rows = {row['name']: row for row in study['rows']}
    unknown = set(args.rows or []) - set(rows)
    if unknown:
        raise ConfigError('--rows', f'no rows {sorted(unknown)}; there are {sorted(rows)}')
    stages = stages_of(study)
    entries = [entry for entry in study.get('stages', []) if isinstance(entry, dict)]
    named = [entry['name'] for entry in entries if 'name' in entry]
    shown = [stage for stage in stages if stage.name in ('teacher', *named)]
    if not args.table:
        started = time.time()
        made = run_shared(stages, [stage.name for stage in shown], args.test)
        with ThreadPoolExecutor(args.jobs) as pool:
            futures = {
                (name, seed): pool.submit(
                    run_row,
                    row,
                    study.get('options', {}),
                    made,
                    root / name / f'seed{seed}',
                    seed,
                    args.test,
                    threads,
                )
                # Seeds outside: an interrupted study has whole rounds of all rows.
                for seed in args.seeds
                for name, row in rows.items()
                if not args.rows or name in args.rows
            }
            for (name, seed), future in futures.items():
                future.result()
                print(f'{time.time() - started:6.0f} s  {name} seed {seed} done', flush=True)
    results: dict[str, list[dict[str, Any]]] = {}
    folders = {stage.name: stage.work_dir.glob('result.json') for stage in shown}
    folders.update({name: (root / name).glob('*/result.json') for name in rows})
    for name, found in folders.items():
        files = sorted(found)
        if files:
            results[name] = [json.loads(file.read_text()) for file in files]
    table = tabulate(study, results, args.test)
    root.mkdir(parents=True, exist_ok=True)
    (root / 'table.md').write_text(table + '\n')
    if args.json:
        kept = {
            name: [{k: v for k, v in run.items() if k != 'checkpoint'} for run in runs]
            for name, runs in results.items()
        }
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(kept, indent=1) + '\n')
    print(table)


if __name__ == '__main__':
    run_tool(main)
