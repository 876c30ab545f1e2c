"""Teacher, plain student and distilled student on the generated data: the quickstart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console

import mmkd
from mmkd.cli.launch import config_path
from mmkd.cli.quickstart_report import STUDENT, Run, report
from mmkd.datasets.shapes import GENERATOR, MARKER, ForeignFolderError, ShapesSettings, make_shapes
from mmkd.models.teacher import teacher_configs
from mmkd.utils.errors import ConfigError, did_you_mean
from mmkd.utils.student_config import is_distilled, plain_options

DATA = 'data/shapes'


def quickstart(
    task: str,
    method: str = 'pskd',
    work_dir: Path = Path('work_dirs/quickstart'),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Path:
    """Train teacher, plain student and distilled student, and compare them on the test split.

    Both students have the same data, schedule, seed and number of iterations. Runs that are
    finished with the same settings are not repeated.

    Args:
        task: ``'det'``, ``'seg'`` or ``'cls'``.
        method: Folder of ``configs/`` that holds the distillation config, or a path of one.
            Defaults to ``'pskd'``.
        work_dir: Results go to its subfolder of the task.
        seed: Seed of all runs. Defaults to 0.
        options: Overrides for all runs, as ``--cfg-options``. Defaults to None.
        console: Where to print, a console on a file with a descriptor. Defaults to None, standard
            output.

    Returns:
        Folder of the results.

    Raises:
        ConfigError: An argument is wrong, or a run failed.
    """
    config = distillation_config(method, task)
    root = work_dir / task
    root.mkdir(parents=True, exist_ok=True)
    with quiet(root / 'log.txt', console) as screen:
        return compare(task, method, config, root, seed, options or {}, screen)


def compare(
    task: str,
    method: str,
    config: str,
    root: Path,
    seed: int,
    options: Mapping[str, Any],
    console: Console,
) -> Path:
    """Do what :func:`quickstart` says, with everything but the console's output in a log."""
    started = time.monotonic()
    data = prepare_data(console)
    label = method if '/' not in method else Path(method).stem
    common = {**options, 'randomness.seed': seed, 'default_hooks.logger.interval': 10}
    results: dict[str, dict[str, Any]] = {}
    runs: dict[str, Run] = {}
    teacher_options: dict[str, Any] = {}
    cfg = Config.fromfile(config)
    teacher = teacher_config(cfg)
    planned = ([('teacher', teacher)] if teacher else []) + [(STUDENT, config), (label, config)]
    for number, (name, path) in enumerate(planned, 1):
        extra = plain_options(cfg) if name == STUDENT else {}
        run = Run(name, path, {**common, **(teacher_options if name == label else {}), **extra})
        where = '/'.join(Path(path).parts[-3:])
        console.print(f'[bold]{number}/{len(planned)} {name}[/]: {where}', highlight=False)
        runs[name] = run
        results[name] = train(run, root / 'runs' / name, data, console)
        if name == 'teacher':
            checkpoint = results[name]['checkpoint']
            teacher_options = {'model.distill.teacher.checkpoint': checkpoint}
    seconds = time.monotonic() - started
    report(task, label, root, runs, results, seed, seconds, console)
    return root


def distillation_config(method: str, task: str) -> str:
    """Return the path of the distillation config of a method for the generated data.

    Raises:
        ConfigError: There is none, or several.
    """
    if method.endswith('.py'):
        if not Path(method).is_file():
            raise ConfigError('--method', f'{method!r} does not exist')
        return method
    configs = Path(mmkd.config('pskd/retinanet_r101_r50_coco.py')).parents[1]
    found = sorted(configs.glob(f'{method}/*_shapes-{task}.py'))
    if len(found) == 1:
        return os.path.relpath(found[0])
    if found:
        names = ', '.join(os.path.relpath(path) for path in found)
        raise ConfigError('--method', f'{method!r} has several configs; name one: {names}')
    folders = {path.parent.name for path in configs.glob(f'*/*_shapes-{task}.py')}
    known = sorted(folders - {'teachers', 'students'})
    raise ConfigError(
        '--method', f'no config in configs/{method} for shapes-{task}{did_you_mean(method, known)}'
    )


def teacher_config(cfg: Config) -> str | None:
    """Return the path of the teacher's config, or None where there is no teacher."""
    distill = (cfg.model.get('distill') or {}) if is_distilled(cfg) else {}
    teachers = teacher_configs(distill.get('teacher'))
    if not teachers:
        return None
    return os.path.relpath(config_path(str(teachers[0][1]['config'])))


def prepare_data(console: Console) -> dict[str, Any]:
    """Generate the data unless they are there, and return their settings.

    Raises:
        ConfigError: The folder holds something else.
    """
    marker = Path(DATA) / MARKER
    settings = ShapesSettings()
    if marker.is_file():
        content = json.loads(marker.read_text())
        if content.get('generator') == GENERATOR:
            # Other settings than ours were chosen on purpose, and only their owner replaces them.
            settings = ShapesSettings(**content['settings'])
    try:
        with console.status('generating the data'):
            written = make_shapes(DATA, settings)
    except (ForeignFolderError, OSError) as error:
        raise ConfigError(DATA, str(error)) from error
    counts = f'{settings.num_train} / {settings.num_val} / {settings.num_test}'
    state = 'generated' if written else 'there already'
    console.print(f'{DATA}: {counts} scenes for train / val / test, {state}', highlight=False)
    return dict(json.loads(marker.read_text()))


def train(run: Run, folder: Path, data: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """Train and evaluate in a process of its own, unless that is done with the same settings.

    Returns:
        Metrics by split, seconds and the checkpoint.

    Raises:
        ConfigError: The process failed.
    """
    settings = dict(config=run.cfg().pretty_text, data=dict(data), version=mmkd.__version__)
    if teacher := run.options.get('model.distill.teacher.checkpoint'):
        settings['teacher'] = Path(teacher).stat().st_mtime_ns
    settings = json.loads(json.dumps(settings))
    result, kept = folder / 'result.json', folder / 'settings.json'
    if result.is_file() and kept.is_file() and json.loads(kept.read_text()) == settings:
        content = json.loads(result.read_text())
        if 'test' in content and Path(content['checkpoint']).is_file():
            console.print('  finished earlier with the same settings, re-used')
            return content
    # The folder is the quickstart's own; what is in it is unfinished or of other settings.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    screen = os.dup(console.file.fileno())
    hook = dict(type='mmkd.ProgressHook', title=f'  {run.name}', fd=screen)
    options = {**run.options, 'default_hooks.progress': hook}
    task = dict(config=run.config, options=options, test=True)
    log = folder / 'log.txt'
    try:
        with open(log, 'w') as stream:
            process = subprocess.run(
                [sys.executable, '-m', 'mmkd.cli.study_run', str(folder), json.dumps(task)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(screen,),
                env=child_environment(),
            )
    finally:
        os.close(screen)
    if process.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        last = lines[-1] if lines else f'exit status {process.returncode}'
        raise ConfigError(f'training {run.name}', f'{last} (the whole log: {log})')
    kept.write_text(json.dumps(settings))
    return json.loads(result.read_text())


@contextmanager
def quiet(log: Path, console: Console | None) -> Iterator[Console]:
    """Send what libraries print to a file; yield a console that still reaches the terminal."""
    if console is not None:
        yield console
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(log, 'w') as stream, os.fdopen(os.dup(1), 'w') as screen:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield Console(file=screen)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in enumerate(saved, 1):
                os.dup2(original, descriptor)
                os.close(original)


def child_environment() -> dict[str, str]:
    """Return the environment of a training process: mmkd importable, warnings in the log only."""
    root = str(Path(mmkd.__file__).resolve().parents[1])
    path = os.environ.get('PYTHONPATH')
    return {**os.environ, 'PYTHONPATH': f'{root}{os.pathsep}{path}' if path else root}
