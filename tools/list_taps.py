"""List the modules of student and teacher that can be tapped, with what they yield.

One small forward pass of each, as distillation runs it. The teacher's weights are not needed.
"""

import argparse

from mmkd.cli.launch import add_common_arguments, load_config, run_tool
from mmkd.cli.list_taps import list_taps


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a distillation config, or of a plain one')
    parser.add_argument('--filter', help='list the module paths that match this regular expression')
    parser.add_argument('--depth', type=int, help='list paths of at most this many parts')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the images; without it, model.distill.probe_size or 128 128',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Print one table for each model."""
    args = parse_args()
    list_taps(load_config(args), args.filter, args.depth, args.size and tuple(args.size))


if __name__ == '__main__':
    run_tool(main)
