"""Write the numbers of studies in docs/results.md, docs/methods/README.md and the README.

A table stands between ``<!-- study: NAME -->`` and ``<!-- end -->``; NAME is a study in
configs/studies/, and its rows come in that order, the teacher first. The summary stands between
``<!-- summary -->`` and ``<!-- end -->``, and is drawn as docs/images/results.png. The gain of a
row over the plain student, with its 95 % interval, stands between ``<!-- gain: NAME, ROW -->`` and
``<!-- end -->``. All come from docs/results/*.json.

``python tools/dev/result_tables.py``
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

from mmkd.cli.common import read_config
from mmkd.cli.study import by_seed, format_gain, format_spread, format_table

ROOT = Path(__file__).resolve().parents[2]
PAGE, README = ROOT / 'docs' / 'results.md', ROOT / 'README.md'
CHOICE = ROOT / 'docs' / 'methods' / 'README.md'
BLOCK = re.compile('(<!-- study: ([a-z0-9-]+) -->\n)(.*?)(<!-- end -->)', re.DOTALL)
GAIN = re.compile('(<!-- gain: ([a-z0-9-]+), (.*?) -->).*?(<!-- end -->)')
SUMMARY = re.compile('(<!-- summary -->\\n)(.*?)(<!-- end -->)', re.DOTALL)
# Data and task, study, row.
BEST = (
    ('blood cells (BCCD), detection', 'bccd-gfl', 'CrossKD'),
    ('nuclei, segmentation', 'nuclei', 'IFVD'),
    ('1 000 images of Fashion-MNIST, classification', 'fashion-mnist-logits', 'DIST'),
)
# Names of metrics in the heads of the tables.
SHORT = {
    'coco/bbox_mAP': 'mAP',
    'accuracy/top1': 'top-1',
    'calibration/ece': 'ECE',
    'calibration/nll': 'NLL',
}


def read_results(name: str, rows: list[str]) -> dict[str, Any]:
    """Return the runs of a study by row, in its order; stages such as the teacher come first."""
    found = json.loads((ROOT / 'docs' / 'results' / f'{name}.json').read_text())
    stages = [row for row in found if row not in rows]
    return {row: found[row] for row in [*stages, *rows] if row in found}


def table(name: str) -> str:
    """Return the table of a study."""
    study = read_config(f'{ROOT}/configs/studies/{name}.yml', key='study').to_dict()
    results = read_results(name, [row['name'] for row in study['rows']])
    text = format_table(study, results, test=True)
    for long, short in SHORT.items():
        text = text.replace(long, short)
    return text


def page(text: str) -> str:
    """Return a page with its tables written anew."""
    return BLOCK.sub(lambda match: f'{match[1]}\n{table(match[2])}\n\n{match[4]}', text)


def values(study: str, row: str) -> dict[int, float]:
    """Return the metric of a row on the test split by seed."""
    cfg = read_config(f'{ROOT}/configs/studies/{study}.yml', key='study').to_dict()
    runs = json.loads((ROOT / 'docs' / 'results' / f'{study}.json').read_text())[row]
    return by_seed(runs, 'test', cfg['metric'], cfg.get('scale', 1.0))


def gain(study: str, row: str) -> str:
    """Return the paired difference of a row to the plain student, with its 95 % interval."""
    plain, ours = values(study, 'plain student'), values(study, row)
    return format_gain([ours[seed] - plain[seed] for seed in ours if seed in plain])


def choice(text: str) -> str:
    """Return a page with its gains written anew."""
    return GAIN.sub(lambda match: f'{match[1]}{gain(match[2], match[3])}{match[4]}', text)


def summary(text: str) -> str:
    """Return the README with its summary written anew."""
    lines = [
        '| data, task | teacher | student | student, distilled | gain, with its 95 % interval |',
        '|---|---|---|---|---|',
    ]
    for data, study, row in BEST:
        metric = read_config(f'{ROOT}/configs/studies/{study}.yml', key='study')['metric']
        teacher, plain, ours = (values(study, name) for name in ('teacher', 'plain student', row))
        cells = [f'{data}, {SHORT.get(metric, metric)}', f'{teacher[0]:.1f}']
        cells += [format_spread(list(plain.values())), format_spread(list(ours.values()))]
        cells[-1] += f' ({row})'
        cells.append(gain(study, row))
        lines.append(f'| {" | ".join(cells)} |')
    return SUMMARY.sub(lambda match: f'{match[1]}\n{chr(10).join(lines)}\n\n{match[3]}', text)


def draw(out: Path) -> None:
    """Draw the summary as bars with standard deviations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 2.6), layout='constrained')
    for axes, (data, study, row) in zip(figure.subplots(1, len(BEST)), BEST):
        names = dict(student='plain student', distilled=row, teacher='teacher')
        bars = [list(values(study, name).values()) for name in names.values()]
        means = [statistics.mean(bar) for bar in bars]
        spread = [statistics.stdev(bar) if len(bar) > 1 else 0.0 for bar in bars]
        labels = ['student', f'distilled\n({row})', 'teacher']
        colors = ['#9aa5b1', '#2f6f4f', '#4a6fa5']
        drawn = axes.bar(labels, means, yerr=spread, capsize=4, color=colors, width=0.62)
        axes.bar_label(drawn, [f'{mean:.1f}' for mean in means], padding=3, fontsize=9)
        low = min(means) - 0.6 * (max(means) - min(means)) - max(spread)
        axes.set_ylim(low, max(means) + 0.25 * (max(means) - low))
        axes.set_title(data.replace(', ', '\n'), fontsize=9)
        axes.tick_params(labelsize=8.5)
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(out, dpi=130)


if __name__ == '__main__':
    PAGE.write_text(page(PAGE.read_text()))
    README.write_text(summary(README.read_text()))
    CHOICE.write_text(choice(CHOICE.read_text()))
    draw(ROOT / 'docs' / 'images' / 'results.png')
