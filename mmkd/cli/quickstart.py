"""Train a teacher, a plain student and a distilled student on generated data, and compare them.

Both students have the same data, schedule, seed and number of iterations. The table shows every
result, good or bad.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

import mmkd
from mmkd.cli.common import (
    Run,
    add_config_options,
    config_path,
    distill_config,
    existing_file,
    make_parser,
    read_config,
)
from mmkd.cli.quickstart_report import STUDENT, TASKS, report
from mmkd.cli.stages import read_finished, run_once
from mmkd.datasets.shapes import ForeignFolderError, ShapesSettings, make_shapes, read_marker
from mmkd.models.teacher import teacher_configs
from mmkd.utils.compat import payload
from mmkd.utils.errors import ConfigError, did_you_mean, refuse
from mmkd.utils.student_config import find, pairs_images, plain_config, plain_options

DATA = 'data/shapes'
# The small data set of a task, and the architecture that it shares with the generated one.
SMALL = dict(det='bccd', seg='nuclei', cls='fashion-mnist')
ARCHITECTURE = dict(det='retinanet', seg='pspnet', cls='resnet')


def main() -> None:
    """Run the quickstart."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('--task', choices=TASKS, default='det', help='Defaults to det')
    add(
        '--method',
        default='pskd',
        help='folder of configs/, such as cwd or pkd, or a distillation config. Defaults to pskd',
    )
    add(
        '--work-dir', type=Path, default=Path('work_dirs/quickstart'), help='folder for the results'
    )
    add('--seed', type=int, default=0, help='of all runs. Defaults to 0')
    add_config_options(parser)
    args = parser.parse_args()
    config, borrowed = distillation_config(args.method, args.task)
    root = args.work_dir / args.task
    root.mkdir(parents=True, exist_ok=True)
    try:
        # What libraries print goes to the log.
        with open(root / 'log.txt', 'w') as log, redirect_stdout(log), redirect_stderr(log):
            compare(args, config, borrowed, root, Console(file=sys.__stdout__))
    except KeyboardInterrupt:
        print('interrupted; the same command skips the finished runs', file=sys.stderr)
        sys.exit(130)


def compare(
    args: Namespace, config: str, borrowed: dict[str, Any], root: Path, console: Console
) -> None:
    """Train the models and report the results on the test split; ``borrowed`` are overrides."""
    started = time.monotonic()
    data = prepare_data(console)
    label = Path(config).stem if args.method.endswith('.py') else Path(args.method).name
    common = dict(args.cfg_options or {})
    common.update({'randomness.seed': args.seed, 'default_hooks.logger.interval': 10})
    cfg = read_config(config, {**borrowed, **common})
    planned = [(STUDENT, config, {**borrowed, **plain_options(cfg)}), (label, config, borrowed)]
    teachers = teacher_configs(distill_config(cfg).get('teacher'))
    if teachers:
        teacher = os.path.relpath(config_path(str(teachers[0][1]['config'])))
        planned.insert(0, ('teacher', teacher, {}))
    runs: dict[str, Run] = {}
    results: dict[str, dict[str, Any]] = {}
    for number, (name, path, options) in enumerate(planned, 1):
        if name == label and teachers:
            checkpoint = results['teacher']['checkpoint']
            options = {**borrowed, 'model.distill.teacher.checkpoint': checkpoint}
        runs[name] = Run(name, path, {**common, **options})
        where = '/'.join(Path(path).parts[-3:])
        console.print(f'[bold]{number}/{len(planned)} {name}[/]: {where}', highlight=False)
        results[name] = train(runs[name], root / 'runs' / name, data, console)
    seconds = time.monotonic() - started
    report(args.task, label, root, runs, results, args.seed, seconds, console)


def distillation_config(method: str, task: str) -> tuple[str, dict[str, Any]]:
    """Return the config of a method for the generated data, and overrides that make it one.

    Without such a config, that of PS-KD gets the methods of the task's small data set. A path of a
    config is taken as it is.

    Raises:
        ConfigError: There is none, or several.
    """
    if method.endswith('.py'):
        return str(existing_file(Path(config_path(method, '--method')), '--method')), {}
    configs = payload('configs')
    shapes, small = f'*_shapes-{task}.py', f'{ARCHITECTURE[task]}{{}}*_{SMALL[task]}.py'
    # Of several configs of a small set, the one without a variant.
    patterns = (shapes, small.format('_'), small.format('-'))
    found = next(filter(None, (sorted(configs.glob(f'{method}/{p}')) for p in patterns)), [])
    if len(found) == 1:
        if found[0].match(shapes):
            return os.path.relpath(found[0]), {}
        (pair,) = configs.glob(f'pskd/{shapes}')
        return os.path.relpath(pair), borrow(found[0], pair)
    names = ', '.join(os.path.relpath(path) for path in found)
    message = f'{method!r} has several configs; choose one: {names}'
    if not found:
        folders = {path.parent.name for p in patterns for path in configs.glob(f'*/{p}')}
        near = did_you_mean(method, sorted(folders - {'teachers', 'students'}))
        message = f'no config in configs/{method} for shapes-{task}{near}'
    raise ConfigError('--method', message)


def borrow(small: Path, pair: Path) -> dict[str, Any]:
    """Return overrides that put the methods of a small set's config into a pair's.

    Raises:
        ConfigError: The methods need a stage of their own before, or another teacher.
    """
    cfg, shapes = read_config(str(small)), read_config(str(pair))
    distill = cfg.model.distill.to_dict()
    methods = distill['methods']
    classes = [find(plain_config(c).model, 'num_classes') for c in (cfg, shapes)]
    for method in methods.values():
        if 'tokens' in method:
            what = f'{method["type"]} needs a stage before; see {os.path.relpath(small.parent)}'
            raise ConfigError('--method', what)
        if method.get('num_classes') == classes[0]:
            method['num_classes'] = classes[1]
    options: dict[str, Any] = {'model.distill.methods': dict(_delete_=True, **methods)}
    mixer = distill.get('mixer')
    options['model.distill.mixer'] = dict(_delete_=True, **mixer) if mixer else None
    if not distill.get('teacher'):
        options['model.distill.teacher'] = None
    sampler = cfg.train_dataloader.get('batch_sampler')
    if sampler and pairs_images(cfg):
        options['train_dataloader.batch_sampler'] = sampler.to_dict()
        options['train_dataloader.batch_size'] = 2 * shapes.train_dataloader.batch_size
    return options


def prepare_data(console: Console) -> dict[str, Any]:
    """Generate the data unless they exist, and return their settings."""
    # Other settings than ours were chosen on purpose, and only their owner replaces them.
    marker = read_marker(Path(DATA)) or dict(settings={})
    settings = ShapesSettings(**marker['settings'])
    what = 'cannot generate the data'
    with refuse(DATA, what, ForeignFolderError, OSError), console.status('generating the data'):
        written = make_shapes(DATA, settings)
    counts = f'{settings.num_train} / {settings.num_val} / {settings.num_test}'
    state = 'generated' if written else 'there already'
    console.print(f'{DATA}: {counts} scenes for train / val / test, {state}', highlight=False)
    return read_marker(Path(DATA)) or {}


def train(run: Run, folder: Path, data: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Train and evaluate, unless that is finished with the same settings, and return the result."""
    settings: list[Any] = [run.read().pretty_text, data, mmkd.__version__]
    if teacher := run.options.get('model.distill.teacher.checkpoint'):
        settings.append(Path(teacher).stat().st_mtime_ns)
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    task = dict(config=run.config, options=run.options, settings=digest)
    result = None
    with suppress(ConfigError):
        result = read_finished(folder / 'result.json', task, ('val', 'test'))
    if result is not None and Path(result['checkpoint']).is_file():
        console.print('  finished earlier with the same settings, re-used')
        return result
    # The folder is the quickstart's own; what is in it is unfinished or of other settings.
    shutil.rmtree(folder, ignore_errors=True)
    screen = os.dup(console.file.fileno())
    hook = dict(type='mmkd.ProgressHook', title=f'  {run.name}', fd=screen)
    try:
        hooks = {'default_hooks.progress': hook}
        return run_once(task, folder, test=True, hooks=hooks, descriptors=(screen,))
    finally:
        os.close(screen)
