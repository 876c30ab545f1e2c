"""Test a student, distilled or plain, or a teacher: any OpenMMLab config with a checkpoint.

Distillation plays no part in it: the student is built without its teacher.
"""

import argparse

from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmkd
from mmkd.cli.launch import add_common_arguments, load_config, run_tool
from mmkd.cli.testing import check_checkpoint, dump_predictions, paint_predictions


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config, or mmkd::… for one of ours')
    parser.add_argument('checkpoint', help='path or URL of a checkpoint')
    parser.add_argument('--work-dir', help='where the log and the metrics go')
    parser.add_argument('--out', '--dump', help='write the predictions to this .pkl file')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='write pictures of the predictions to this folder')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds that --show shows a picture'
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Build the Runner and test."""
    args = parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise mmkd.utils.ConfigError('--out', f'{args.out!r} must end in .pkl')
    cfg = mmkd.utils.plain_config(load_config(args))
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        paint_predictions(cfg, args.show_dir, args.show, args.wait_time)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    check_checkpoint(runner, args.checkpoint)
    if args.out:
        dump_predictions(runner, args.out)
    runner.test()


if __name__ == '__main__':
    run_tool(main)
