"""What can be known to fail before a Runner is built, and what mmengine words badly."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmkd.engine.data_check import EMPTY
from mmkd.utils.errors import ConfigError
from mmkd.utils.student_config import is_distilled

# Strategies that cut parameters into pieces, or replace the optimizer's step.
SHARDED = ('FSDPStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy')


def check_inputs(cfg: Config) -> None:
    """Refuse a run that would fail after minutes, or with a message from deep inside.

    Raises:
        ConfigError: The work directory cannot be written, a file or folder of a data set is
            missing or cut off, or a strategy shards the student.
    """
    check_strategy(cfg)
    check_work_dir(cfg.work_dir)
    for key in ('train_dataloader', 'val_dataloader'):
        if isinstance(cfg.get(key), Mapping):
            for path, dataset in datasets_in(cfg[key].get('dataset'), f'{key}.dataset'):
                check_files(dataset, path)


def check_strategy(cfg: Config) -> None:
    """Refuse strategies under which the tapped tensors and adapters are not the student's own."""
    strategy = cfg.get('strategy') or {}
    kind = strategy.get('type') if isinstance(strategy, Mapping) else strategy
    name = str(kind).rsplit('.', 1)[-1]
    if is_distilled(cfg) and name in SHARDED:
        raise ConfigError(
            'strategy',
            f'{name} shards the parameters, so that the checkpoint would not be the plain '
            "student's and the adapters' state would be lost; a student is small: use "
            "DDPStrategy, or the ordinary Runner (runner_type='Runner')",
        )


def check_work_dir(folder: str) -> None:
    """Refuse a work directory in which no file can be made."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            'work_dir',
            f'cannot write into {folder!r} ({error.strerror}); choose another --work-dir',
        ) from error


def datasets_in(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the innermost data sets of a config, with their keys."""
    if not isinstance(node, Mapping):
        return
    inside = [(f'{key}.dataset', node.get('dataset'))]
    if isinstance(node.get('datasets'), (list, tuple)):
        inside += [(f'{key}.datasets.{i}', part) for i, part in enumerate(node['datasets'])]
    if not any(isinstance(part, Mapping) for _, part in inside):
        yield key, node
    for path, part in inside:
        yield from datasets_in(part, path)


def check_files(dataset: Mapping[str, Any], key: str) -> None:
    """Check that the files that a data set names are there, as mmengine joins their paths."""
    if dataset.get('backend_args') or dataset.get('download'):
        return  # not on this machine, or not yet
    root = str(dataset.get('data_root') or '')
    if root and '://' not in root and not os.path.isdir(root):
        raise ConfigError(f'{key}.data_root', f'{root!r} is no folder')
    prefixes = dataset.get('data_prefix') or {}
    if isinstance(prefixes, str):
        prefixes = {'': prefixes}
    for name, prefix in prefixes.items():
        path = os.path.join(root, prefix) if isinstance(prefix, str) else ''
        # A prefix may be the beginning of file names instead of a folder.
        if path and '://' not in path and not os.path.isdir(path) and not prefix_of_files(path):
            raise ConfigError(f'{key}.data_prefix.{name}'.rstrip('.'), f'{path!r} is no folder')
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and ann_file and '://' not in ann_file:
        check_annotations(os.path.join(root, ann_file), f'{key}.ann_file')


def prefix_of_files(path: str) -> bool:
    """Whether some file's name begins as a path does."""
    folder, name = os.path.split(path)
    return os.path.isdir(folder) and any(e.startswith(name) for e in os.listdir(folder))


def check_annotations(path: str, key: str) -> None:
    """Check that an annotation file is there and, if it is JSON, has an end.

    Only its first and last bytes are read: COCO's has 450 MB.
    """
    if os.path.isdir(path):  # image sets are folders in some data sets
        return
    try:
        with open(path, 'rb') as file:
            first = file.read(64).lstrip()[:1]
            file.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
            last = file.read().rstrip()[-1:]
    except OSError as error:
        raise ConfigError(key, f'cannot read {path!r}: {error.strerror}') from error
    if not first:
        raise ConfigError(key, f'{path!r} is empty')
    if path.endswith('.json') and (first, last) not in ((b'{', b'}'), (b'[', b']')):
        raise ConfigError(key, f'{path!r} is no JSON, or is cut off')


@contextmanager
def explained() -> Iterator[None]:
    """Say that a data set is empty where mmengine fails to pack none of its annotations.

    Raises:
        ConfigError: A data set is empty.
    """
    try:
        yield
    except ValueError as error:
        calls = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
        if '_serialize_data' not in calls:
            raise
        split = 'val' if 'build_val_loop' in calls else 'train'
        raise ConfigError(f'{split}_dataloader.dataset', EMPTY) from error
