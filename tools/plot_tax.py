"""Draw the distillation tax from what tools/benchmark_step.py has measured, or put it into a page.

The rows of several files are drawn together: measure at several sizes, and name all the files.
"""

import argparse
from pathlib import Path

from mmkd.cli.launch import run_tool
from mmkd.cli.tax_report import AXES, fill_page, plot_tax, read_rows
from mmkd.utils import ConfigError


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='*', help='JSON files of tools/benchmark_step.py')
    parser.add_argument('--against', choices=sorted(AXES), default='size', help='the x axis')
    parser.add_argument('--out', default='tax.png', help='the picture')
    parser.add_argument(
        '--page', help='instead of drawing, fill the tables of this page (docs/performance.md)'
    )
    return parser.parse_args()


def main() -> None:
    """Draw, or fill a page."""
    args = parse_args()
    if args.page:
        for file in fill_page(Path(args.page)):
            print(f'{file} is not there: its table stays as it is')
        return
    if not args.files:
        raise ConfigError('files', 'name the files to draw')
    plot_tax(read_rows(args.files), args.against, Path(args.out))
    print(args.out)


if __name__ == '__main__':
    run_tool(main)
