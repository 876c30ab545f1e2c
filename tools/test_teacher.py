"""Test the teacher of a distillation config exactly as distillation runs it.

The images come from the student's pipeline and data preprocessor, re-normalised where the teacher
wants that, in the teacher's precision; the metric is the student's. A number far below the
teacher's published one means that the student would learn from a teacher that does not work here.
"""

import argparse
from pathlib import Path

from mmengine.dist import is_main_process

from mmkd.cli.launch import add_common_arguments, load_config, run_tool
from mmkd.cli.teacher_alone import evaluate_teacher


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of a distillation config')
    parser.add_argument('--work-dir', help='where the log goes')
    parser.add_argument('--split', choices=['test', 'val'], default='test', help='Defaults to test')
    parser.add_argument('--teacher', help='which one, where the config has several')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Test and print the metrics."""
    args = parse_args()
    cfg = load_config(args)
    if args.work_dir is None:
        cfg.work_dir = str(Path(cfg.work_dir) / 'teacher')
    metrics = evaluate_teacher(cfg, args.split, args.teacher)
    if is_main_process():
        for name, value in metrics.items():
            print(f'{name}: {value}')


if __name__ == '__main__':
    run_tool(main)
