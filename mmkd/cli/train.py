"""Train a student, distilled or plain, or a teacher: any OpenMMLab config."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import OPTIMIZERS, RUNNERS, DefaultScope
from mmengine.runner import Runner

from mmkd.cli.common import load_config, make_parser
from mmkd.cli.explain import explained
from mmkd.cli.inputs import NO_GPU, check_data
from mmkd.engine import SafeCheckpointHook
from mmkd.engine.data_check import EMPTY
from mmkd.engine.resume import shield_workers
from mmkd.utils.checks import integer
from mmkd.utils.errors import ConfigError, did_you_mean, refuse
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
        required(cfg, 'optim_wrapper')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        required(cfg, 'auto_scale_lr.base_batch_size', 'is missing, and --auto-scale-lr needs it')
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    train(cfg)


def train(cfg: Config) -> Runner:
    """Check a config, build its Runner and train.

    Raises:
        ConfigError: The config cannot be trained.
    """
    check_inputs(cfg)
    protect_work_dir(cfg)
    save_safely(cfg)
    add_hook(cfg)
    protect_adapters(cfg)
    with explained(cfg), explain_empty_data():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if any(isinstance(hook, SafeCheckpointHook) for hook in runner.hooks):
            # A loop over iterations starts its workers now; the hook ends the protection.
            shield_workers(True)
        runner.train()
    return runner


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
        ConfigError: A part of a training config is missing, the work directory cannot be written, a
            file or folder of a data set is missing or truncated, a strategy shards the student,
            automatic mixed precision has no GPU, or the optimizer is unknown.
    """
    for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'):
        check_dict(key, required(cfg, key))
    for key in ('max_epochs', 'max_iters'):
        if cfg.train_cfg.get(key) is not None:
            integer(1, **{f'train_cfg.{key}': cfg.train_cfg[key]})
    check_dict('default_hooks', cfg.get('default_hooks') or {})
    required(cfg, 'train_dataloader.dataset')
    check_strategy(cfg)
    check_optimizer(cfg)
    check_precision(cfg)
    check_work_dir(cfg.work_dir)
    check_data(cfg, 'train_dataloader', 'val_dataloader')


def check_dict(key: str, value: Any) -> None:
    """Refuse an entry that is no dict."""
    if not isinstance(value, Mapping):
        raise ConfigError(key, f'must be a dict, got {value!r}')


def check_optimizer(cfg: Config) -> None:
    """Refuse an optimizer that does not exist."""
    optimizer = cfg.optim_wrapper.get('optimizer')
    if optimizer is not None:  # a constructor may build several from other keys
        check_dict('optim_wrapper.optimizer', optimizer)
    kind = (optimizer or {}).get('type')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
            near = did_you_mean(kind, OPTIMIZERS.module_dict)
            raise ConfigError('optim_wrapper.optimizer.type', f'there is no {kind!r}{near}')


def check_precision(cfg: Config) -> None:
    """Refuse automatic mixed precision without a GPU."""
    amp = type_name(cfg.optim_wrapper).endswith('AmpOptimWrapper')
    if amp and get_device() in ('cpu', 'mps'):
        raise ConfigError('optim_wrapper.type', NO_GPU)


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
