"""Shared by the tools: the config that a command line names, and how a tool ends."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction

from mmkd.cli.explain import SWITCH
from mmkd.utils.config_files import config_path, locate_teachers, parse_config
from mmkd.utils.errors import ConfigError, Interrupted, NonFiniteError, refuse
from mmkd.utils.loading import read_checkpoint, refusal, restrict, unsafe
from mmkd.utils.student_config import is_distilled, required

# Top-level config key: whether load_from, resume and pretrained weights may hold more than weights.
TRUST = 'trusted_checkpoints'


def make_parser(description: str | None, config: bool = False) -> ArgumentParser:
    """Return a parser; one with a ``config`` also has the flags of every OpenMMLab tool."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    if config:
        text = 'path, or a name such as mmkd::pskd/retinanet_r101_r50_coco.py'
        parser.add_argument('config', help=text)
        add_config_options(parser)
        launchers = ['none', 'pytorch', 'slurm', 'mpi']
        parser.add_argument('--launcher', choices=launchers, default='none', help='job launcher')
        # torch.distributed.launch passes the rank as a flag, torchrun in the environment.
        parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def add_config_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    text = 'override entries of the config: key=value, lists as key="[a,b]" or key=a,b'
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help=text)


def read_config(
    name: str,
    options: Mapping[str, Any] | None = None,
    key: str = 'config',
    needed: tuple[str, ...] = ('config',),
) -> Config:
    """Read a config or a YAML file and override entries of it.

    Args:
        name: Its path, or name, see :func:`~mmkd.utils.config_files.config_path`.
        options: The entries, as of ``--cfg-options``. Defaults to None.
        key: Key or argument with the name, for error messages. Defaults to ``'config'``.
        needed: See :func:`~mmkd.utils.config_files.locate_teachers`. Defaults to the config.

    Raises:
        ConfigError: The file, or one of a teacher, does not exist or cannot be parsed, or an entry
            cannot be overridden.
    """
    cfg = parse_config(name, key)
    with refuse('--cfg-options', 'cannot override', KeyError, TypeError, IndexError):
        cfg.merge_from_dict(dict(options or {}))
    locate_teachers(cfg, needed)
    return cfg


@dataclass(frozen=True)
class Run:
    """A config with overrides, as of ``--cfg-options``, and its name in tables."""

    name: str
    config: str
    options: dict[str, Any] = field(default_factory=dict)

    def read(self) -> Config:
        """Return the config with its overrides."""
        return read_config(self.config, self.options)


def load_config(args: Namespace, needed: tuple[str, ...] = ('config', 'checkpoint')) -> Config:
    """Read the config of a command line and apply the common flags.

    Args:
        args: The command line.
        needed: What must exist of a teacher. Defaults to its config and its checkpoint.

    Raises:
        ConfigError: See :func:`read_config`.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, needed=needed)
    cfg.launcher = args.launcher
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(config_path(args.config)).stem))
    if getattr(args, 'work_dir', None) is not None:
        cfg.work_dir = args.work_dir
    use_available_backend(cfg)
    if not cfg.get(TRUST):
        restrict()
    return cfg


def distill_config(cfg: Config) -> Mapping[str, Any]:
    """Return ``model.distill``; empty for a plain config and for one with distillation off."""
    return (cfg.model.get('distill') or {}) if is_distilled(cfg) else {}


def use_available_backend(cfg: Config) -> None:
    """Use gloo where a config asks for nccl and there is no GPU.

    mmengine's own launch of several processes sets a CUDA device and passes it to DDP, which both
    fail without a GPU.
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


def study_rows(study: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rows of a study.

    Raises:
        ConfigError: There are none, or one has no name or config.
    """
    rows = required(study, 'rows', f'{name!r} lists no rows')
    if not isinstance(rows, (list, tuple)):
        raise ConfigError('rows', f'must be a list, got {rows!r}')
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not {'name', 'config'} <= set(row):
            raise ConfigError(f'rows.{number}', f'must have a name and a config, got {row!r}')
    return [dict(row) for row in rows]


def check_device(name: str) -> str:
    """Return the argument ``--device``.

    Raises:
        ConfigError: torch knows no such device, or it is not there.
    """
    with refuse('--device', f'cannot use {name!r}', RuntimeError, AssertionError):
        torch.empty(0, device=name)
    return name


def existing_file(path: Path, key: str) -> Path:
    """Return a path.

    Raises:
        ConfigError: It is no file.
    """
    if not path.is_file():
        raise ConfigError(key, f'{str(path)!r} does not exist')
    return path


def read_training_checkpoint(path: Path, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint file of a training run.

    Raises:
        ConfigError: It does not exist, is corrupt or not a checkpoint, or holds more than weights.
    """
    existing_file(path, 'checkpoint')
    content = read_checkpoint(str(path), 'checkpoint', trusted, '--trusted')
    if not isinstance(content, Mapping) or 'state_dict' not in content:
        raise ConfigError('checkpoint', f'{str(path)!r} holds no state dict')
    return dict(content)


def run_tool(main: Callable[[], Any]) -> None:
    """Run a tool; an invalid config ends it with exit code 2 and one line, not a traceback."""
    try:
        main()
    except (ConfigError, ImportError, NonFiniteError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except pickle.UnpicklingError as error:
        if (needed := unsafe(error)) is None:
            raise
        what = refusal(needed, f'--cfg-options {TRUST}=True')
        print(f'error: load_from: the checkpoint that was loaded last {what}', file=sys.stderr)
        sys.exit(2)
    except Interrupted:  # all ranks at the same iteration
        leave_process_group()
        raise
    except OSError as error:
        if error.filename is None or os.environ.get(SWITCH):
            raise
        print(f'error: {error.filename}: {error.strerror}', file=sys.stderr)
        sys.exit(2)
    leave_process_group()


def leave_process_group() -> None:
    """Destroy the process group at the end of a successful run.

    Otherwise gloo's threads may still hold tensors when Python shuts down, and abort the process
    after all its work is done. Not after an exception: the other ranks may be waiting in a
    collective, and so would this one.
    """
    if torch.distributed.is_initialized():
        gc.collect()  # the Runner and its hooks refer to each other and to the group
        torch.distributed.destroy_process_group()
