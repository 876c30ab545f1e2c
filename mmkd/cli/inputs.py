"""Checks of a config's files before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmkd.utils.errors import ConfigError, refuse

NO_GPU = (
    'automatic mixed precision needs a GPU, and there is none: leave it out; a teacher alone can '
    "run in bf16 on a CPU (model.distill.teacher.precision='bf16')"
)


def check_data(cfg: Config, *keys: str) -> None:
    """Check the files of the data sets of some dataloaders, as far as the config has them.

    Raises:
        ConfigError: A file or folder is missing or truncated.
    """
    for key in keys:
        loader = cfg.get(key)
        if isinstance(loader, Mapping):
            for path, dataset in datasets_in(loader.get('dataset'), f'{key}.dataset'):
                check_files(dataset, path)


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
    """Check that the files of a data set exist, with paths joined as mmengine does."""
    if dataset.get('backend_args') or dataset.get('download'):
        return  # remote, or downloaded later
    root = str(dataset.get('data_root') or '')
    folders = [('data_root', root)]
    prefixes = dataset.get('data_prefix') or {}
    if isinstance(prefixes, str):
        prefixes = {'': prefixes}
    for name, prefix in prefixes.items():
        path = os.path.join(root, prefix) if isinstance(prefix, str) else ''
        # A prefix may be the beginning of file names instead of a folder.
        if not prefix_of_files(path):
            folders.append((f'data_prefix.{name}'.rstrip('.'), path))
    for name, path in folders:
        if path and '://' not in path and not os.path.isdir(path):
            raise ConfigError(f'{key}.{name}', f'{path!r} is not a folder')
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and ann_file and '://' not in ann_file:
        check_annotations(os.path.join(root, ann_file), f'{key}.ann_file')


def prefix_of_files(path: str) -> bool:
    """Whether the path is the beginning of a file's path."""
    folder, name = os.path.split(path)
    return os.path.isdir(folder) and any(e.startswith(name) for e in os.listdir(folder))


def check_annotations(path: str, key: str) -> None:
    """Check that an annotation file exists and, if it is JSON, is complete.

    Only its first and last bytes are read: that of COCO has 450 MB.
    """
    if os.path.isdir(path):  # image sets are folders in some data sets
        return
    with refuse(key, f'cannot read {path!r}', OSError), open(path, 'rb') as file:
        first = file.read(64).lstrip()[:1]
        file.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
        last = file.read().rstrip()[-1:]
    whole = not path.endswith('.json') or (first, last) in ((b'{', b'}'), (b'[', b']'))
    if not first or not whole:
        fault = 'is not JSON, or is truncated' if first else 'is empty'
        raise ConfigError(key, f'{path!r} {fault}')
