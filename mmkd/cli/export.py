"""Publishing a student: weights and config that need no mmkd."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmkd.utils.errors import ConfigError
from mmkd.utils.loading import build_plain, read_checkpoint
from mmkd.utils.student_config import mmkd_keys, plain_config

# What a user of the weights may want to know; seeds, paths and times of the run are not among it.
KEPT_META = ('epoch', 'iter', 'dataset_meta', 'mmengine_version')


def export_student(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    config: str | os.PathLike | Config | None = None,
    ema: bool | None = None,
    hashed: bool = True,
    trusted: bool = False,
) -> tuple[Path, Path]:
    """Write a student's weights and its plain config.

    The file holds ``state_dict`` and a little ``meta`` alone, and loads with ``strict=True`` into
    the model of the config beside it; that is tried before anything is written.

    Args:
        checkpoint: A checkpoint of a training run.
        out: Where the weights go, such as ``student.pth``. The config gets the suffix ``.py``.
        config: The run's config. Defaults to None, the one inside the checkpoint.
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
    cfg = forget_run(plain_config(read_config(config, content, checkpoint)))
    state = pick_weights(content, ema, checkpoint)
    model = build_plain(cfg, 'config')
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConfigError('config', f'{checkpoint} does not fit the student: {error}') from error
    needed = list(mmkd_keys({k: v for k, v in cfg.items() if k != 'model'}))
    for key in needed:
        print(f'warning: {key} of the config still needs mmkd, for training')
    meta = {k: v for k, v in (content.get('meta') or {}).items() if k in KEPT_META}
    meta['cfg'] = cfg.pretty_text
    return write(Path(out), dict(meta=meta, state_dict=state), cfg, hashed)


def read_training_checkpoint(path: Path, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint file.

    Raises:
        ConfigError: It is missing, corrupt or no checkpoint, or holds what is refused.
    """
    if not path.is_file():
        raise ConfigError('checkpoint', f'{str(path)!r} does not exist')
    content = read_checkpoint(str(path), 'checkpoint', trusted, '--trusted')
    if not isinstance(content, Mapping) or 'state_dict' not in content:
        raise ConfigError('checkpoint', f'{str(path)!r} holds no state dict')
    return dict(content)


def read_config(config: Any, content: Mapping[str, Any], checkpoint: Any) -> Config:
    """Return the config that is given, or that the checkpoint carries.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    if isinstance(config, Config):
        return config
    try:
        if config is not None:
            return Config.fromfile(config)
        text = (content.get('meta') or {}).get('cfg')
        if text:
            return Config.fromstring(text, '.py')
    except (OSError, SyntaxError) as error:
        raise ConfigError('config', f'cannot read {config or checkpoint}: {error}') from error
    raise ConfigError('config', f'{checkpoint} carries none; name it with --config')


def forget_run(cfg: Config) -> Config:
    """Undo, in place, what the tools set for one run on one machine."""
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

    EMAHook swaps them when it saves: the averaged ones are in ``state_dict``, the raw ones in
    ``ema_state_dict``.

    Raises:
        ConfigError: Averaged weights are asked for and there are none.
    """
    averaged = content.get('ema_state_dict')
    if ema and averaged is None:
        raise ConfigError(
            'checkpoint', f'{checkpoint} has no EMA weights; its config has no EMAHook'
        )
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
