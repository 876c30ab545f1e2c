"""What the command-line tools share: reading a config and starting a Runner safely."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import CheckpointHook

import mmkd
from mmkd.utils.errors import ConfigError, Interrupted, NonFiniteError
from mmkd.utils.loading import refusal, restrict, unsafe

# Top-level config key: whether load_from, resume and pretrained weights may hold more than weights.
TRUST = 'trusted_checkpoints'


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the flags that every OpenMMLab tool has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override entries of the config: key=value, lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes the rank as a flag, torchrun in the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def config_path(name: str) -> str:
    """Return the path of a config; one of ours may be called ``mmkd::<path below configs/>``.

    Raises:
        FileNotFoundError: mmkd has no such config.
    """
    package, _, rest = name.partition('::')
    return mmkd.config(rest) if package == 'mmkd' and rest else name


def load_config(args: Namespace) -> Config:
    """Read ``args.config`` and apply the common flags.

    Raises:
        ConfigError: The file does not exist or cannot be parsed.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = Config.fromfile(config_path(args.config))
    except (OSError, SyntaxError) as error:
        raise ConfigError('config', f'cannot read {args.config!r}: {error}') from error
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if getattr(args, 'work_dir', None) is not None:
        cfg.work_dir = args.work_dir
    use_available_backend(cfg)
    if not cfg.get(TRUST):
        restrict()
    return cfg


def use_available_backend(cfg: Config) -> None:
    """Let several processes run on a machine without GPU, where a config asks for nccl.

    mmengine's own launch of them sets a CUDA device and names it to DDP, which both fail there.
    """
    if torch.cuda.is_available():
        return
    env = cfg.setdefault('env_cfg', {})
    dist = env.setdefault('dist_cfg', {})
    if dist.get('backend', 'nccl') == 'nccl':
        dist['backend'] = 'gloo'
    if cfg.get('launcher') != 'pytorch':
        return
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    cfg.model_wrapper_cfg['device_ids'] = None
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(**dist)


def save_safely(cfg: Config) -> None:
    """Put mmkd's checkpoint hook in the place of mmengine's, with the same arguments."""
    hooks = cfg.setdefault('default_hooks', {})
    hook = hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    kinds = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)
    if hook is not None and hook.get('type') in kinds:
        hook['type'] = 'mmkd.SafeCheckpointHook'


def protect_work_dir(cfg: Config) -> None:
    """Refuse to write over the checkpoints of an earlier run.

    Raises:
        ConfigError: The work directory holds checkpoints and the run does not resume.
    """
    if cfg.get('resume'):
        return
    found = sorted(Path(cfg.work_dir).glob('*.pth'))
    if found:
        raise ConfigError(
            'work_dir',
            f'{cfg.work_dir} holds {found[-1].name} of an earlier run; pass --resume to continue '
            'it, or --work-dir for a new one',
        )


def run_tool(main: Callable[[], Any]) -> None:
    """Run a tool; a wrong config ends it with one line instead of a traceback."""
    try:
        main()
    except (ConfigError, ImportError, NonFiniteError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except pickle.UnpicklingError as error:
        needed = unsafe(error)
        if needed is None:
            raise
        what = refusal(needed, f'--cfg-options {TRUST}=True')
        print(f'error: load_from: the checkpoint that was loaded last {what}', file=sys.stderr)
        sys.exit(2)
    except Interrupted:  # all ranks at the same iteration
        leave_process_group()
        raise
    leave_process_group()


def leave_process_group() -> None:
    """Destroy the process group at the end of a run that went well.

    Otherwise gloo's threads may still hold tensors when Python shuts down, and abort the process
    after all its work is done. Not after an exception: the other ranks may be waiting in a
    collective, and so would this one.
    """
    if torch.distributed.is_initialized():
        gc.collect()  # the Runner and its hooks refer to each other and to the group
        torch.distributed.destroy_process_group()
