"""Write pictures of training batches as the student and the teacher see them.

They show boxes, masks and label maps, the borders between the parts of mixed images, and soft
labels. The teacher's weights are not needed. A learned augmentation changes nothing before it has
learned; --checkpoint shows what it has become.
"""

import argparse
from pathlib import Path

from mmkd.cli.browse import browse
from mmkd.cli.launch import add_common_arguments, load_config, run_tool


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of a distillation config, or of a plain one')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    parser.add_argument('--batches', type=int, default=2, help='Defaults to 2')
    parser.add_argument('--images', type=int, default=8, help='images of a batch. Defaults to 8')
    parser.add_argument('--seed', type=int, default=0, help='Defaults to 0')
    parser.add_argument(
        '--checkpoint', type=Path, help='of a run of the config: what its mixer has learned'
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Draw and say where."""
    args = parse_args()
    cfg = load_config(args)
    options = args.batches, args.images, args.seed, args.checkpoint
    for path in browse(cfg, args.out, *options):
        print(path)


if __name__ == '__main__':
    run_tool(main)
