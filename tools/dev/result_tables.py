"""Write the tables of studies in docs/results.md from docs/results/*.json.

A table stands between ``<!-- study: NAME -->`` and ``<!-- end -->``; NAME is a study in
configs/studies/, and its rows come in that order, the teacher first.

``python tools/dev/result_tables.py``
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mmkd.cli.common import read_config
from mmkd.cli.study import format_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'results.md'
BLOCK = re.compile('(<!-- study: ([a-z0-9-]+) -->\n)(.*?)(<!-- end -->)', re.DOTALL)
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


if __name__ == '__main__':
    PAGE.write_text(page(PAGE.read_text()))
