"""Train a student, distilled or plain, or a teacher: any OpenMMLab config."""

import argparse

from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmkd
from mmkd.cli.launch import (
    add_common_arguments,
    load_config,
    protect_work_dir,
    run_tool,
    save_safely,
)
from mmkd.cli.preflight import check_inputs, explained
from mmkd.engine import SafeCheckpointHook
from mmkd.engine.resume import shield_workers


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config, or mmkd::… for one of ours')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint; without a value from the last one of the work dir',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Build the Runner and train."""
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise mmkd.utils.ConfigError(
                'auto_scale_lr', '--auto-scale-lr needs auto_scale_lr.base_batch_size in the config'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    check_inputs(cfg)
    protect_work_dir(cfg)
    save_safely(cfg)
    with explained():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if any(isinstance(hook, SafeCheckpointHook) for hook in runner.hooks):
            shield_workers(True)  # the hook lets go; a loop over iterations starts them before
        runner.train()


if __name__ == '__main__':
    run_tool(main)
