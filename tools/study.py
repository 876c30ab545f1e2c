"""Run the rows of a study with several seeds and tabulate mean ± standard deviation.

A study is a YAML file (configs/studies/*.yml) with these keys:

- rows: a list of names with a config each, and options as --cfg-options takes them;
- metric, scale: what is tabulated for val and test, and by what it is multiplied (1);
- also: more metrics, tabulated for the last split only;
- teacher: recipe of the teacher, trained first; none without;
- stages: configs that some rows need trained first, such as masks;
- options: options of all rows, before their own;
- _base_: another study, whose keys are inherited.

Finished runs are skipped, so the same command continues a study. "peak MiB" is the largest resident
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
    threads = max((os.cpu_count() or 2) // max(args.jobs, 2), 1)
    rows = {row['name']: row for row in study['rows']}
    unknown = set(args.rows or []) - set(rows)
    if unknown:
        raise ConfigError('--rows', f'no rows {sorted(unknown)}; there are {sorted(rows)}')
    teacher = study.get('teacher')
    if not args.table:
        started = time.time()
        if teacher:
            target = teacher_checkpoint(teacher)
            trained = run_one(
                teacher, {}, target.parent / 'study', 0, args.test, os.cpu_count() or 2
            )
            if not target.exists():
                target.write_bytes(Path(trained['checkpoint']).read_bytes())
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
                    {**study.get('options', {}), **row.get('options', {})},
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
    for name in [*(['teacher'] if teacher else []), *rows]:
        if name == 'teacher':
            files = [teacher_checkpoint(teacher).parent / 'study' / 'result.json']
            files = [file for file in files if file.exists()]
        else:
            files = sorted((root / name).glob('*/result.json'))
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
