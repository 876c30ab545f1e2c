"""Draw, on given images, the masks of a trained distiller and where student and teacher differ.

The student's weights and those of the methods come from a checkpoint of the training run.
"""

import argparse
from pathlib import Path

from mmkd.cli.launch import add_common_arguments, load_config, run_tool
from mmkd.cli.vis_masks import vis_masks


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='path of a distillation config')
    parser.add_argument('checkpoint', type=Path, help='checkpoint of its training')
    parser.add_argument('images', type=Path, nargs='+', help='image files')
    parser.add_argument('--out', type=Path, required=True, help='folder of the pictures')
    parser.add_argument('--device', default='cpu', help='Defaults to cpu')
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Draw and say where."""
    args = parse_args()
    cfg = load_config(args)
    for path in vis_masks(cfg, args.checkpoint, args.images, args.out, args.device):
        print(path)


if __name__ == '__main__':
    run_tool(main)
