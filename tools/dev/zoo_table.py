"""Write docs/zoo.md from docs/results/zoo.json, which tools/dev/zoo.py writes.

``python tools/dev/zoo_table.py``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE, JSON = DOCS / 'zoo.md', DOCS / 'results' / 'zoo.json'
PARTS = ('stage', 'neck', 'head')
CRASH = 'CRASH: '
LONGEST = 200  # characters of a message
HEAD = """# Models of the zoos

Generated from `results/zoo.json` by `python tools/dev/zoo_table.py`. `python tools/dev/zoo.py` runs
the models.

One config of a folder of mmdet, mmseg and mmpretrain that describes a model, mostly the smallest,
is its own teacher, with random weights. The plain model takes a training step first, on the
smallest images on which it can. Then the outputs of its last stage, of its neck and of the last
module of its head are distilled for a step, with mmkd's defaults and without `probe_size`. `ok`
means that the loss is finite and has a gradient on the student.

| outcome | meaning |
|---|---|
| every tap | all taps that the model has are distilled |
| some taps | mmkd refuses the others in one line |
| teacher | it takes no training step here, or not with these taps, but works as a teacher |
| refused | mmkd refuses the model as student and as teacher in one line |
| crash | an exception that is not mmkd's |
| not built | OpenMMLab cannot build it here: a package, an operator or a download is missing |
"""
OUTCOMES = ('every tap', 'some taps', 'teacher', 'refused', 'crash', 'not built')


def outcome(row: dict[str, Any]) -> str:
    """Return what became of a model."""
    results = [row[part] for part in PARTS if part in row]
    if any(text.startswith(CRASH) for text in [*results, row.get('teacher', '')]):
        return 'crash'
    if results and set(results) == {'ok'}:
        return 'every tap'
    if 'ok' in results:
        return 'some taps'
    if 'teacher' not in row:
        return 'not built'
    return 'teacher' if row['teacher'] == 'ok' else 'refused'


def cell(text: str) -> str:
    """Return a message for a cell of a table."""
    text = ' '.join(text.split()).replace('|', '\\|').replace('<', '\\<')
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}…'


def line(*cells: Any) -> str:
    """Return a row of a table."""
    return f'| {" | ".join(map(str, cells))} |'


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of counts."""
    lines = [line('package', 'folders', *OUTCOMES), '|---' * (len(OUTCOMES) + 2) + '|']
    packages = sorted({row['package'] for row in rows})
    for package in [*packages, 'all']:
        found = [outcome(row) for row in rows if package in (row['package'], 'all')]
        counts = [found.count(name) for name in OUTCOMES]
        lines.append(line(package, len(found), *counts))
    trained = [row for row in rows if 'plain' not in row]
    works = sum(outcome(row) in OUTCOMES[:3] for row in trained)
    share = f'{works} ({100 * works / len(trained):.0f} %)'
    sentence = f'Of {len(trained)} models that train plainly, {share} work as student or teacher.'
    return [*lines, '', sentence]


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [HEAD, *summary(rows)]
    for package in sorted({row['package'] for row in rows}):
        own = [row for row in rows if row['package'] == package]
        lines += ['', f'## {package}', '']
        lines += [line('folder', 'config', 'pixels', *PARTS), '|---' * (3 + len(PARTS)) + '|']
        for row in own:
            if 'plain' not in row:
                results = [result(row, part) for part in PARTS]
                lines.append(
                    line(row['folder'], name(row), '×'.join(map(str, row['size'])), *results)
                )
        lines += ['', f'### {package}: models that do not train by themselves', '']
        lines += [
            line('folder', 'config', 'as a teacher', 'reason of the plain model'),
            '|---' * 4 + '|',
        ]
        for row in own:
            if 'plain' in row:
                teacher = cell(row.get('teacher', '–'))
                lines.append(line(row['folder'], name(row), teacher, cell(row['plain'])))
    return '\n'.join(lines) + '\n'


def name(row: dict[str, Any]) -> str:
    """Return the name of a row's config."""
    return f'`{row["config"].removesuffix(".py")}`'


def result(row: dict[str, Any], part: str) -> str:
    """Return a cell for a tap: the module and what became of it."""
    if part not in row.get('taps', {}):
        return cell(row.get(part, '–'))
    return f'`{row["taps"][part]}`: {cell(row[part])}'


if __name__ == '__main__':
    PAGE.write_text(page(json.loads(JSON.read_text(encoding='utf-8'))), encoding='utf-8')
    print(PAGE)
