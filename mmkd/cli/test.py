"""Test a student, distilled or plain, or a teacher: any OpenMMLab config with a checkpoint.

A distilled student is built without its teacher.
"""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.registry import METRICS, RUNNERS
from mmengine.runner import Runner

from mmkd.cli.common import TRUST, load_config, make_parser
from mmkd.cli.explain import explained
from mmkd.cli.inputs import check_data
from mmkd.utils.errors import ConfigError
from mmkd.utils.loading import load_strictly
from mmkd.utils.student_config import plain_config, required


def main() -> None:
    """Build the Runner and test."""
    parser = make_parser(__doc__, config=True)
    add = parser.add_argument
    add('checkpoint', help='path or URL of a checkpoint')
    add('--work-dir', help='folder for the log and the metrics')
    add('--out', '--dump', help='write the predictions to this .pkl file')
    add('--show', action='store_true', help='show the predictions in a window')
    add('--show-dir', help='write pictures of the predictions to this folder')
    add('--wait-time', type=float, default=2, help='seconds that --show shows a picture')
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ConfigError('--out', f'must end in .pkl, got {args.out!r}')
    cfg = plain_config(load_config(args, needed=()))
    cfg.load_from, cfg.resume = args.checkpoint, False
    for part in ('dataloader.dataset', 'evaluator'):
        required(cfg, f'test_{part}', 'the config has none, so there is nothing to test on')
    check_data(cfg, 'test_dataloader')
    if args.show or args.show_dir:
        draw_predictions(cfg, args.show_dir, args.show, args.wait_time)
    with explained(cfg):
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        # mmengine would load the entries that fit and leave the rest at random.
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        load_strictly(model, args.checkpoint, 'test', bool(cfg.get(TRUST)), f'{TRUST}=True')
        if args.out:
            dump_predictions(runner, args.out)
        runner.test()


def dump_predictions(runner: Any, path: str) -> None:
    """Make a test write its predictions to a .pkl file, masks compressed for detectors."""
    kind = 'mmdet.DumpDetResults' if runner.cfg.get('default_scope') == 'mmdet' else 'DumpResults'
    runner.test_evaluator.metrics.append(METRICS.build(dict(type=kind, out_file_path=path)))


def draw_predictions(cfg: Config, folder: str | None, show: bool, wait_time: float) -> None:
    """Turn on, in place, the config's visualization hook; its arguments differ by package.

    Raises:
        ConfigError: The config has no such hook.
    """
    missing = 'is missing, so predictions cannot be drawn'
    hook = required(cfg, 'default_hooks.visualization', missing)
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
