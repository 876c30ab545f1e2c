"""Training runs one after the other, each with the checkpoints of those before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from mmkd.utils import ConfigError, did_you_mean

# Trains a config with options in a work directory and returns the path of its last checkpoint.
Train = Callable[[str, dict[str, Any], Path], Path]
KEYS = ('name', 'config', 'options', 'work_dir', 'checkpoint')


@dataclass(frozen=True)
class Stage:
    """One training run whose last checkpoint is kept for later ones.

    Args:
        name: How later options call its checkpoint, ``$name``.
        config: Path of its config.
        work_dir: Where it is trained.
        checkpoint: Where its last checkpoint is kept. If the file exists, the stage is done.
        options: Overrides of the config, as of ``--cfg-options``; ``$name`` in a text stands for
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
        entries: A dict of :class:`Stage`'s arguments each, or the path of a config. Without a name
            the config's own is taken; without a ``work_dir`` it is
            ``work_dirs/<folder of the config>/<name of the config>``, and without a ``checkpoint``
            ``<work_dir>/<name>.pth``.
        folder: Parent of the work directories instead, each with the name of its stage.

    Raises:
        ConfigError: An entry has no config or an unknown key, or two have the same name.
    """
    stages: list[Stage] = []
    for index, entry in enumerate(entries):
        given = dict(entry) if isinstance(entry, Mapping) else dict(config=entry)
        key = f'stages.{index}'
        for name in given:
            if name not in KEYS:
                raise ConfigError(f'{key}.{name}', f'no such key{did_you_mean(name, KEYS)}')
        if not given.get('config'):
            raise ConfigError(f'{key}.config', 'every stage has one')
        config = Path(given['config'])
        name = given.get('name') or config.stem
        work_dir = Path('work_dirs', config.parent.name, config.stem)
        if folder is not None:
            work_dir = folder / name
        work_dir = Path(given.get('work_dir') or work_dir)
        checkpoint = Path(given.get('checkpoint') or work_dir / f'{name}.pth')
        if name in [stage.name for stage in stages]:
            raise ConfigError(f'{key}.name', f'{name!r} stands twice')
        options = given.get('options') or {}
        stages.append(Stage(name, str(config), work_dir, checkpoint, options))
    return stages


def run_stages(
    stages: Sequence[Stage], train: Train, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Run what is not done yet, in order.

    Args:
        stages: The stages.
        train: Trains one.
        known: Paths of checkpoints by name that options may refer to as well. Defaults to None.

    Returns:
        Path of the checkpoint of every stage by name, those of ``known`` included.

    Raises:
        ConfigError: Options refer to a stage that is not an earlier one, or a stage was done with
            another config or other options.
    """
    made = dict(known or {})
    for stage in stages:
        options = filled(stage.options, made, f'stages.{stage.name}.options')
        record = stage.checkpoint.with_suffix('.json')
        task = dict(config=stage.config, options=options)
        if not stage.checkpoint.exists():
            kept = train(stage.config, options, stage.work_dir)
            keep(kept, stage.checkpoint)
            record.write_text(json.dumps(task, indent=1) + '\n')
        elif record.exists() and json.loads(record.read_text()) != json.loads(json.dumps(task)):
            raise ConfigError(
                f'stages.{stage.name}',
                f'{stage.checkpoint} was made otherwise, see {record}; remove it or name another '
                'checkpoint and work_dir',
            )
        made[stage.name] = str(stage.checkpoint)
    return made


def keep(file: Path, target: Path) -> None:
    """Copy a checkpoint; an interrupted copy leaves no target."""
    if file.resolve() == target.resolve():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + '.part')
    shutil.copyfile(file, part)
    os.replace(part, target)


def filled(options: Mapping[str, Any], made: Mapping[str, str], key: str) -> dict[str, Any]:
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
                    f'{key}.{name}',
                    f'{value!r} names no earlier stage; there are {sorted(made)}',
                ) from error
    return result
