"""Write a trained student's weights and plain config, for use and publication without mmkd."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmkd.cli.common import make_parser, read_config, read_training_checkpoint
from mmkd.cli.explain import explained
from mmkd.utils.errors import ConfigError, refuse
from mmkd.utils.loading import build_plain
from mmkd.utils.student_config import mmkd_keys, plain_config

# Entries of ``meta`` that users of the weights need; seeds, paths and times of the run go.
KEPT_META = ('epoch', 'iter', 'dataset_meta', 'mmengine_version')


def main() -> None:
    """Export, and print the paths of the files."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('checkpoint', help='checkpoint of a training run')
    add('out', help='such as student.pth: student-<hash>.pth and student-<hash>.py are written')
    add('--config', help="the run's config; without it, the one inside the checkpoint")
    add(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help='require the averaged weights of an EMAHook, or take the raw ones; without it, the '
        'averaged ones if there are any',
    )
    add(
        '--trusted',
        action='store_true',
        help='also read a checkpoint that holds more than weights, and so can run code',
    )
    args = parser.parse_args()
    paths = export_student(args.checkpoint, args.out, args.config, args.ema, trusted=args.trusted)
    print(*paths, sep='\n')


def export_student(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    ema: bool | None = None,
    hashed: bool = True,
    trusted: bool = False,
) -> tuple[Path, Path]:
    """Write a student's weights and its plain config.

    The file holds only ``state_dict`` and a short ``meta``, and loads with ``strict=True`` into the
    model of the config beside it; this is checked before anything is written.

    Args:
        checkpoint: A checkpoint of a training run.
        out: File for the weights, such as ``student.pth``. The config gets the suffix ``.py``.
        config: The run's config, or its path or name. Defaults to None, the one inside the
            checkpoint.
        ema: True takes the averaged weights and fails where there are none, False the raw ones.
            Defaults to None: averaged ones if there are any.
        hashed: Append the first 8 digits of the file's SHA-256 to the names, as OpenMMLab does.
            Defaults to True.
        trusted: Also read a checkpoint that holds more than weights, and so can run code. Defaults
            to False.

    Returns:
        Paths of the weights and of the config.

    Raises:
        ConfigError: The checkpoint or the config is missing, or they do not fit.
    """
    content = read_training_checkpoint(Path(checkpoint), trusted)
    cfg = forget_run(plain_config(config_of_run(config, content, checkpoint)))
    state = pick_weights(content, ema, checkpoint)
    with explained(cfg):
        model = build_plain(cfg, 'config')
    with refuse('config', f'{checkpoint} does not fit the student', RuntimeError):
        model.load_state_dict(state, strict=True)
    for key in mmkd_keys({k: v for k, v in cfg.items() if k != 'model'}):
        print(f'warning: {key} of the config still needs mmkd, for training')
    meta = {k: v for k, v in (content.get('meta') or {}).items() if k in KEPT_META}
    meta['cfg'] = cfg.pretty_text
    return write(Path(out), dict(meta=meta, state_dict=state), cfg, hashed)


def config_of_run(config: Any, content: Mapping[str, Any], checkpoint: Any) -> Config:
    """Return the given config, or the one inside the checkpoint.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    if isinstance(config, Config):
        return config
    if config is not None:
        return read_config(str(config), needed=())
    text = (content.get('meta') or {}).get('cfg')
    if not text:
        raise ConfigError('config', f'{checkpoint} contains no config; pass --config')
    with refuse('config', f'cannot read that of {checkpoint}', OSError, SyntaxError):
        return Config.fromstring(text, '.py')


def forget_run(cfg: Config) -> Config:
    """Remove, in place, what the tools set for one run on one machine."""
    for name in ('work_dir', 'launcher', 'timestamp', 'model_wrapper_cfg'):
        if name != 'model_wrapper_cfg' or cfg.get(name, {}).get('device_ids', ()) is None:
            cfg.pop(name, None)
    cfg.load_from, cfg.resume = None, False
    dist = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    if dist.get('backend') == 'gloo':
        dist['backend'] = 'nccl'
    return cfg


def pick_weights(
    content: Mapping[str, Any], ema: bool | None, checkpoint: Any
) -> dict[str, torch.Tensor]:
    """Return the averaged or the raw weights of a checkpoint.

    EMAHook swaps them when it saves: ``state_dict`` holds the averaged ones, ``ema_state_dict``
    the raw ones.

    Raises:
        ConfigError: Averaged weights are required and there are none.
    """
    averaged = content.get('ema_state_dict')
    if ema and averaged is None:
        raise ConfigError('checkpoint', f'{checkpoint} has no EMA weights: there was no EMAHook')
    state = {k.removeprefix('module.'): v for k, v in content['state_dict'].items()}
    if ema is False and averaged is not None:
        raw = {k.removeprefix('module.'): v for k, v in averaged.items() if k.startswith('module.')}
        state.update(raw)
    return {k: v.detach().clone() for k, v in state.items()}


def write(out: Path, content: dict[str, Any], cfg: Config, hashed: bool) -> tuple[Path, Path]:
    """Write weights and config; files of these names are replaced only when complete."""
    out = out if out.suffix == '.pth' else out.with_name(out.name + '.pth')
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f'.{out.name}.partial')
    torch.save(content, partial)
    if hashed:
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        out = out.with_name(f'{out.stem}-{digest[:8]}.pth')
    partial.replace(out)
    config = out.with_suffix('.py')
    cfg.dump(config)
    return out, config
