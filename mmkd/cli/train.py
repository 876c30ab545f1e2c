"""Train a student, distilled or plain, or a teacher: any OpenMMLab config."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmkd.cli.common import load_config, make_parser
from mmkd.engine import SafeCheckpointHook
from mmkd.engine.data_check import EMPTY
from mmkd.engine.resume import shield_workers
from mmkd.utils.errors import ConfigError, refuse
from mmkd.utils.student_config import is_distilled, required, type_name

# Strategies that shard parameters, or replace the optimizer's step.
SHARDED = ('FSDPStrategy', 'DeepSpeedStrategy', 'ColossalAIStrategy')


def main() -> None:
    """Build the Runner and train."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('--work-dir', help='folder for logs and checkpoints')
    add('--amp', action='store_true', help='automatic mixed precision')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size')
    add(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint; without a value from the last one of the work dir',
    )
    args = parser.parse_args()
    cfg = load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        required(cfg, 'auto_scale_lr.base_batch_size', 'is missing, and --auto-scale-lr needs it')
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    check_inputs(cfg)
    protect_work_dir(cfg)
    save_safely(cfg)
    add_hook(cfg)
    protect_adapters(cfg)
    with explain_empty_data():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if any(isinstance(hook, SafeCheckpointHook) for hook in runner.hooks):
            # A loop over iterations starts its workers now; the hook ends the protection.
            shield_workers(True)
        runner.train()


def save_safely(cfg: Config) -> None:
    """Replace mmengine's checkpoint hook by mmkd's, with the same arguments."""
    hooks = cfg.setdefault('default_hooks', {})
    hook = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    parts = type_name(hook).split('.')
    if parts[-1] == 'CheckpointHook' and parts[0] in ('CheckpointHook', 'mmengine'):
        hook['type'] = 'mmkd.SafeCheckpointHook'


def add_hook(cfg: Config) -> None:
    """Add DistillHook to a distillation config that does not name it."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    named = [type_name(hook).rpartition('.')[2] for hook in hooks]
    if is_distilled(cfg) and 'DistillHook' not in named:
        cfg.default_hooks.distill = dict(type='mmkd.DistillHook')


def protect_adapters(cfg: Config) -> None:
    """Keep ``custom_keys`` of the student, such as ``head``, off adapters whose name has them.

    mmengine takes the longest key that is part of a parameter's name.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys')
    if is_distilled(cfg) and keys:
        keys.setdefault('distiller.methods.', dict(lr_mult=1.0, decay_mult=1.0))


def protect_work_dir(cfg: Config) -> None:
    """Refuse to overwrite the checkpoints of an earlier run.

    Raises:
        ConfigError: The work directory holds checkpoints and the run does not resume.
    """
    found = [] if cfg.get('resume') else sorted(Path(cfg.work_dir).glob('*.pth'))
    if found:
        advice = 'pass --resume to continue it, or --work-dir for a new one'
        held = f'{cfg.work_dir} holds {found[-1].name} of an earlier run'
        raise ConfigError('work_dir', f'{held}; {advice}')


def check_inputs(cfg: Config) -> None:
    """Refuse a run that would fail after minutes, or with an obscure message.

    Raises:
        ConfigError: The work directory cannot be written, a file or folder of a data set is
            missing or truncated, or a strategy shards the student.
    """
    check_strategy(cfg)
    check_work_dir(cfg.work_dir)
    for key in ('train_dataloader', 'val_dataloader'):
        if isinstance(cfg.get(key), Mapping):
            for path, dataset in datasets_in(cfg[key].get('dataset'), f'{key}.dataset'):
                check_files(dataset, path)


def check_strategy(cfg: Config) -> None:
    """Refuse strategies that shard the parameters of the student and its adapters."""
    strategy = cfg.get('strategy') or {}
    kind = strategy.get('type') if isinstance(strategy, Mapping) else strategy
    name = str(kind).rsplit('.', 1)[-1]
    if is_distilled(cfg) and name in SHARDED:
        raise ConfigError(
            'strategy',
            f'{name} shards the parameters: the checkpoint would not be a plain student and the '
            "adapters' state would be lost; use DDPStrategy, or the ordinary Runner "
            "(runner_type='Runner')",
        )


def check_work_dir(folder: str) -> None:
    """Refuse a work directory that is not writable."""
    with refuse('work_dir', f'cannot write into {folder!r}; choose another --work-dir', OSError):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


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


@contextmanager
def explain_empty_data() -> Iterator[None]:
    """Raise a clear error where mmengine fails to pack the annotations of an empty data set.

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
