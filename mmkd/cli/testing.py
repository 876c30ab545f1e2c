"""What the testing tools share."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.model import is_model_wrapper
from torch import nn

from mmkd.cli.launch import TRUST
from mmkd.utils.errors import ConfigError
from mmkd.utils.loading import load_strictly


def model_of(runner: Any) -> nn.Module:
    """Return a runner's model without its DDP wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def check_checkpoint(runner: Any, checkpoint: str) -> None:
    """Refuse a checkpoint that does not fill the model.

    mmengine would test what it can load and leave the rest as random weights.

    Raises:
        ConfigError: It is missing or corrupt, or belongs to another model.
    """
    trusted = bool(runner.cfg.get(TRUST))
    load_strictly(model_of(runner), checkpoint, 'test', trusted, f'{TRUST}=True')


def dump_predictions(runner: Any, path: str) -> None:
    """Let a test write its predictions to a .pkl file, masks compressed for detectors."""
    metric: DumpResults
    if runner.cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults

        metric = DumpDetResults(out_file_path=path)
    else:
        metric = DumpResults(out_file_path=path)
    runner.test_evaluator.metrics.append(metric)


def paint_predictions(
    cfg: Config, folder: str | None, show: bool = False, wait_time: float = 2
) -> None:
    """Turn on the config's visualization hook, which has other arguments in each package.

    Args:
        cfg: Config of the test; it is changed.
        folder: Where the pictures go. None for a window only.
        show: Show them in a window. Defaults to False.
        wait_time: Seconds that the window shows a picture. Defaults to 2.

    Raises:
        ConfigError: The config has no such hook.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise ConfigError(
            'default_hooks.visualization', 'is not there, so predictions cannot be drawn'
        )
    scope = cfg.get('default_scope')
    hook.update(enable=True, interval=1) if scope == 'mmpretrain' else hook.update(draw=True)
    if show:
        hook.update(show=True, wait_time=wait_time)
    if folder is None:
        return
    if scope == 'mmpretrain':
        hook['out_dir'] = folder
    elif scope == 'mmseg':
        hook['interval'] = 1
        cfg.visualizer['save_dir'] = folder
    else:
        hook['test_out_dir'] = folder
