"""Training runs for recipe, study and quickstart: in order, and each of them once."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmkd
from mmkd.cli.common import config_path, read_config, run_tool, use_available_backend
from mmkd.cli.explain import explained
from mmkd.utils import ConfigError, check_names, config_key
from mmkd.utils.student_config import required

# Trains a config with options in a work directory and returns the path of its last checkpoint.
Train = Callable[[str, dict[str, Any], Path], Path]
KEYS = ('name', 'config', 'options', 'work_dir', 'checkpoint')


@dataclass(frozen=True)
class Stage:
    """A training run whose last checkpoint is kept for later ones.

    Args:
        name: Name of the checkpoint in later options, ``$name``.
        config: Path of its config.
        work_dir: Work directory of the training.
        checkpoint: File for its last checkpoint. If the file exists, the stage is finished.
        options: Overrides of the config, as of ``--cfg-options``; ``$name`` in a string stands for
            the checkpoint of that earlier stage.
    """

    name: str
    config: str
    work_dir: Path
    checkpoint: Path
    options: dict[str, Any] = field(default_factory=dict)


def read_stages(entries: Sequence[Any], folder: Path | None = None) -> list[Stage]:
    """Read the ``stages`` of a recipe or a study.

    Args:
        entries: A dict of :class:`Stage`'s arguments each, or a config. The ``name`` defaults to
            that of the config's file, the ``work_dir`` to ``work_dirs/<folder>/<name>`` of the
            config and the ``checkpoint`` to ``<work_dir>/<name>.pth``.
        folder: Parent of the work directories instead, each with the name of its stage.

    Raises:
        ConfigError: An entry has no config or an unknown key, or a name is listed twice.
    """
    stages: list[Stage] = []
    if not isinstance(entries, (list, tuple)):
        raise ConfigError('stages', f'must be a list, got {entries!r}')
    for index, entry in enumerate(entries):
        given = dict(entry) if isinstance(entry, Mapping) else dict(config=entry)
        key = f'stages.{index}'
        with config_key(key):
            check_names(given, KEYS)
            required(given, 'config', 'is missing')
            if not isinstance(given['config'], str):
                raise ConfigError('config', f'must be a path or a name, got {given["config"]!r}')
        config = Path(config_path(given['config'], f'{key}.config'))
        name = given.get('name') or config.stem
        parent = Path('work_dirs', config.parent.name)
        work_dir = parent / config.stem if folder is None else folder / name
        work_dir = Path(given.get('work_dir') or work_dir)
        checkpoint = Path(given.get('checkpoint') or work_dir / f'{name}.pth')
        if name in [stage.name for stage in stages]:
            raise ConfigError(f'{key}.name', f'{name!r} is listed twice')
        options = given.get('options') or {}
        stages.append(Stage(name, str(config), work_dir, checkpoint, options))
    return stages


def run_stages(
    stages: Sequence[Stage], train: Train, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Run the unfinished stages in order and return all checkpoints by name.

    Args:
        stages: The stages.
        train: Trains one.
        known: More checkpoints by name, for ``$name`` in options. Defaults to None.

    Raises:
        ConfigError: Options refer to a stage that is not an earlier one, or a finished stage had
            another config or other options.
    """
    made = dict(known or {})
    for stage in stages:
        options = fill_in(stage.options, made, f'stages.{stage.name}.options')
        record = stage.checkpoint.with_suffix('.json')
        task = dict(config=stage.config, options=options)
        if stage.checkpoint.exists():
            read_finished(record, task)
        else:
            kept = train(stage.config, options, stage.work_dir)
            if kept.resolve() != stage.checkpoint.resolve():
                stage.checkpoint.parent.mkdir(parents=True, exist_ok=True)
                part = stage.checkpoint.with_name(stage.checkpoint.name + '.part')
                shutil.copyfile(kept, part)
                os.replace(part, stage.checkpoint)  # an interrupted copy leaves no checkpoint
            record.write_text(json.dumps(task, indent=1) + '\n')
        made[stage.name] = str(stage.checkpoint)
    return made


def read_finished(
    record: Path, task: Mapping[str, Any], needed: Iterable[str] = ()
) -> dict[str, Any] | None:
    """Return the record of a run if it is finished and has the ``needed`` entries, else None.

    The ``task`` holds ``config``, ``options`` and more that must equal those of the record, a JSON
    file that is written when a run ends. A record without ``config`` fits every task.

    Raises:
        ConfigError: The run was made from another task.
    """
    if not record.is_file():
        return None
    found = json.loads(record.read_text())
    if 'config' in found:
        for key, value in json.loads(json.dumps(task)).items():
            own = found.get(key)
            moved = key == 'config' and Path(own).resolve() == Path(value).resolve()
            if own != value and not moved:
                advice = 'remove it and its checkpoint, or choose another work_dir'
                raise ConfigError(key, f'{record} belongs to a run with different {key}; {advice}')
    return found if all(name in found for name in needed) else None


def fill_in(options: Mapping[str, Any], made: Mapping[str, str], key: str) -> dict[str, Any]:
    """Return options with paths in place of ``$name``.

    Raises:
        ConfigError: There is no such name.
    """
    result = dict(options)
    for name, value in options.items():
        if isinstance(value, str):
            try:
                result[name] = Template(value).substitute(made)
            except (KeyError, ValueError) as error:
                raise ConfigError(
                    f'{key}.{name}', f'no earlier stage for {value!r}; there are {sorted(made)}'
                ) from error
    return result


def run_once(
    task: Mapping[str, Any],
    work_dir: Path,
    test: bool = False,
    threads: int | None = None,
    hooks: Mapping[str, Any] | None = None,
    descriptors: Sequence[int] = (),
) -> dict[str, Any]:
    """Train and evaluate a config in a process of its own, unless that run is finished.

    The process writes its log to ``log.txt`` and its result to ``result.json``.

    Args:
        task: ``config``, ``options``, and whatever else distinguishes this run from others.
        work_dir: Work directory.
        test: Also evaluate the test split. Defaults to False.
        threads: Threads of the process. Defaults to None, the environment's.
        hooks: Overrides of the config that do not distinguish runs. Defaults to None.
        descriptors: File descriptors that the process inherits. Defaults to ().

    Returns:
        The task, metrics by split, seconds, peak memory and the path of the checkpoint.

    Raises:
        ConfigError: The process failed, or the finished run was made from another task.
    """
    record = work_dir / 'result.json'
    result = read_finished(record, task, ('val', 'test') if test else ('val',))
    if result is not None:
        return result
    work_dir.mkdir(parents=True, exist_ok=True)
    log = work_dir / 'log.txt'
    environment = child_environment()
    if threads is not None:
        environment.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    command = [sys.executable, '-m', 'mmkd.cli.stages', str(work_dir)]
    command.append(json.dumps(dict(task=task, test=test, hooks=hooks)))
    with open(log, 'a') as out:
        process = subprocess.run(
            command, stdout=out, stderr=subprocess.STDOUT, pass_fds=descriptors, env=environment
        )
    if process.returncode:
        lines = log.read_text().strip().splitlines()
        last = lines[-1] if lines else f'exit status {process.returncode}'
        raise ConfigError(task['config'], f'training failed: {last} (log: {log})')
    return json.loads(record.read_text())


def run_here(
    work_dir: Path, task: Mapping[str, Any], test: bool, hooks: Mapping[str, Any] | None
) -> None:
    """Train and evaluate in this process; see :func:`run_once`."""
    cfg = read_config(task['config'], {**task['options'], **(hooks or {})})
    cfg.work_dir = str(work_dir)
    use_available_backend(cfg)
    file = work_dir / 'result.json'
    result = json.loads(file.read_text()) if file.exists() else {}
    trained = 'val' in result
    if trained:
        cfg.load_from, cfg.resume = result['checkpoint'], False
    with explained(cfg):
        runner = Runner.from_cfg(cfg)
        if not trained:
            last = LastMetrics()
            runner.register_hook(last)
            started = time.time()
            runner.train()
            result = dict(
                task,
                seconds=round(time.time() - started, 1),
                peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                checkpoint=(work_dir / 'last_checkpoint').read_text().strip(),
                val=as_numbers(last.metrics),
            )
            result.update(gradient_shares(work_dir))
        if test:  # after training the loop alone, as the hooks are ready
            result['test'] = as_numbers(runner.test() if trained else runner.test_loop.run())
    file.write_text(json.dumps(result, indent=1))


def gradient_shares(work_dir: Path) -> dict[str, Any]:
    """Return the gradient of every distillation loss ÷ the task's, from the first-step reports."""
    file = work_dir / 'first_step.json'
    if not file.is_file():
        return {}
    reports = json.loads(file.read_text())
    shares = {
        str(report['step']): {loss['name']: loss['share'] for loss in report['losses']}
        for report in reports
    }
    return dict(gradient_to_task=shares)


class LastMetrics(Hook):
    """Keeps the metrics of the last validation, with which every training loop ends."""

    metrics: dict[str, Any]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Keep the metrics."""
        self.metrics = metrics or {}


def as_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics as JSON stores them."""
    return {name: float(value) for name, value in metrics.items()}


def child_environment() -> dict[str, str]:
    """Return the environment of a training process, in which mmkd can be imported."""
    root = str(Path(mmkd.__file__).resolve().parents[1])
    path = os.environ.get('PYTHONPATH')
    return {**os.environ, 'PYTHONPATH': f'{root}{os.pathsep}{path}' if path else root}


if __name__ == '__main__':
    run_tool(lambda: run_here(Path(sys.argv[1]), **json.loads(sys.argv[2])))
