"""Run the rows of a study with several seeds and tabulate mean ± standard deviation.

A study is a YAML file (configs/studies/*.yml): a teacher recipe, stages that some rows need, a list
of rows (a config and options each), a metric. Finished runs are skipped, so the same command
continues a study.
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

import yaml

from mmkd.cli.launch import run_tool
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


def teacher_checkpoint(config: str) -> Path:
    """Return where a teacher's weights are kept: where the distillation configs look for them."""
    return Path('work_dirs/teachers') / Path(config).stem / 'teacher.pth'


def tabulate(study: dict[str, Any], results: dict[str, list[dict[str, Any]]], test: bool) -> str:
    """Return a Markdown table of the rows that have results."""
    metric = study['metric']
    splits = ['val', 'test'] if test else ['val']
    lines = [
        f'| row | {" | ".join(f"{s} {metric}" for s in splits)} | seeds |',
        '|---|' + '---|' * (len(splits) + 1),
    ]
    for name, runs in results.items():
        cells = []
        for split in splits:
            values = [run[split][metric] for run in runs if split in run]
            cells.append(spread(values, study.get('scale', 1.0)))
        lines.append(f'| {name} | {" | ".join(cells)} | {len(runs)} |')
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
    study = yaml.safe_load(Path(args.study).read_text())
    root = Path(args.work_dir) / Path(args.study).stem
    threads = max((os.cpu_count() or 2) // max(args.jobs, 2), 1)
    rows = {row['name']: row for row in study['rows']}
    unknown = set(args.rows or []) - set(rows)
    if unknown:
        raise ConfigError('--rows', f'no rows {sorted(unknown)}; there are {sorted(rows)}')
    results: dict[str, list[dict[str, Any]]] = {}
    if not args.table:
        teacher = study['teacher']
        target = teacher_checkpoint(teacher)
        started = time.time()
        trained = run_one(teacher, {}, target.parent / 'study', 0, args.test, os.cpu_count() or 2)
        if not target.exists():
            target.write_bytes(Path(trained['checkpoint']).read_bytes())
        results['teacher'] = [trained]
        for stage in map(Path, study.get('stages', [])):  # such as masks, kept beside the teachers
            run_one(
                str(stage),
                {},
                Path('work_dirs') / stage.parent.name / stage.stem,
                0,
                False,
                threads,
            )
        with ThreadPoolExecutor(args.jobs) as pool:
            futures = {
                (name, seed): pool.submit(
                    run_one,
                    row['config'],
                    row.get('options', {}),
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
    for name in ['teacher', *rows]:
        folder = teacher_checkpoint(study['teacher']).parent if name == 'teacher' else root / name
        files = sorted(folder.glob('study/result.json' if name == 'teacher' else '*/result.json'))
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
