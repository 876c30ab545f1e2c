"""Plot the distillation tax that benchmark_step measured, or fill its tables into a page.

The rows of several files are drawn together: measure at several sizes, and pass all the files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmkd.cli.common import make_parser
from mmkd.utils.errors import ConfigError, refuse

Row = dict[str, Any]
BLOCK = re.compile(r'(<!-- steps: (\S+) -->\n).*?(<!-- end -->)', re.DOTALL)
COLUMNS: dict[str, Callable[[Row], str]] = {
    'step': lambda r: r['name'],
    'seconds': lambda r: f'{r["seconds"]:.3f} ± {100 * r["spread"]:.0f} %',
    'tax': lambda r: f'{r["tax"]:.2f}',
    'allowed': lambda r: f'{r["allowed"]:.2f}' if r.get('allowed') else '',
    'teacher s': lambda r: part(r, 'teacher'),
    'methods s': lambda r: part(r, 'methods'),
    'mixer s': lambda r: part(r, 'mixer'),
    'kept MiB': lambda r: number(r['saved_mib']),
    'tapped MiB': lambda r: number(r.get('tapped_mib')),
    'peak MiB': lambda r: number(r['peak_mib']),
}
# The x axes of a plot: label, and the value of a row.
AXES: dict[str, tuple[str, Callable[[Row], float]]] = {
    'size': ('side of the images in pixels', lambda r: r['size'][0]),
    'batch': ('images in a batch', lambda r: r['batch_size']),
    'teacher': ('parameters of the teacher in millions', lambda r: r['teacher_parameters'] / 1e6),
}


def main() -> None:
    """Plot, or fill a page."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add('files', nargs='*', help='JSON files of benchmark_step')
    add('--against', choices=sorted(AXES), default='size', help='the x axis')
    add('--out', default='tax.png', help='file for the plot')
    add('--page', help='instead of plotting, fill the tables of this page (docs/performance.md)')
    args = parser.parse_args()
    if args.page:
        for file in fill_page(Path(args.page)):
            print(f'{file} does not exist: its table stays as it is')
        return
    if not args.files:
        raise ConfigError('files', 'pass the files to plot')
    plot_tax(read_rows(args.files), args.against, Path(args.out))
    print(args.out)


def read_rows(paths: Iterable[str | Path]) -> list[Row]:
    """Return the rows of several files."""
    with refuse('files', 'cannot read the results', OSError, ValueError):
        return [row for path in paths for row in json.loads(Path(path).read_text())]


def part(row: Row, name: str) -> str:
    """Return the seconds of a part; empty if it takes none."""
    seconds = row['parts'].get(name)
    return f'{seconds:.3f}' if seconds else ''


def number(value: float | None) -> str:
    """Return a rounded number; empty for None."""
    return '' if value is None else f'{value:.0f}'


def format_table(rows: list[Row]) -> str:
    """Return a Markdown table of students and distilled steps, without empty columns."""
    rows = [row for row in rows if row['kind'] != 'teacher']
    cells = {name: [show(row) for row in rows] for name, show in COLUMNS.items()}
    cells = {name: values for name, values in cells.items() if any(values)}
    lines = [list(cells), ['---'] * len(cells), *zip(*cells.values())]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def format_setting(rows: list[Row]) -> str:
    """Return the machine and the setting of the rows."""
    row = rows[0]
    height, width = row['size']
    return (
        f'{row["device"]} ({row["device_name"]}, {row["threads"]} threads), {height}×{width}, '
        f'batch {row["batch_size"]}{", AMP" if row["amp"] else ""}, {row["rounds"]} rounds'
    )


def fill_page(page: Path) -> list[str]:
    """Write the tables into a page, between ``<!-- steps: FILE -->`` and ``<!-- end -->``.

    The files are relative to the page. Those that are missing are returned; their tables stay.
    """
    missing = []

    def fill(match: re.Match[str]) -> str:
        file = page.parent / match[2]
        if not file.exists():
            missing.append(match[2])
            return match[0]
        rows = read_rows([file])
        return f'{match[1]}{format_setting(rows)}\n\n{format_table(rows)}\n{match[3]}'

    page.write_text(BLOCK.sub(fill, page.read_text()))
    return missing


def plot_tax(rows: list[Row], axis: str, out: Path) -> None:
    """Plot the tax of the distilled steps, one line each; along ``'teacher'`` all are one line."""
    from matplotlib.figure import Figure

    label, value = AXES[axis]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if row['kind'] == 'distilled':
            lines.setdefault('' if axis == 'teacher' else row['name'], []).append(row)
    figure = Figure(figsize=(5.2, 3.6), layout='constrained')
    axes = figure.subplots()
    for name, line in lines.items():
        line.sort(key=value)
        x, tax = [value(row) for row in line], [row['tax'] for row in line]
        spread = [row['tax_spread'] for row in line]
        axes.errorbar(x, tax, yerr=spread, marker='o', capsize=3, linewidth=1.2, label=name)
        axes.plot(x, [row['allowed'] for row in line], linestyle=':', color='grey', linewidth=1)
        if axis == 'teacher':
            for row in line:
                at = (value(row), row['tax'])
                axes.annotate(row['name'], at, textcoords='offset points', xytext=(4, -10))
    axes.set(xlabel=label, ylabel='distillation tax')
    axes.axhline(1, color='black', linewidth=0.8)
    axes.grid(alpha=0.3)
    if axis != 'teacher':
        axes.legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
