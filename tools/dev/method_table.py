"""Write docs/mixer-method-table.md from the registered classes.

``python tools/dev/method_table.py``
"""

from __future__ import annotations

from pathlib import Path

import mmkd  # noqa: F401 (registers everything)
from mmkd.methods import Method
from mmkd.mixers import Mixer
from mmkd.registry import MODELS, TASKS, is_a, refuse_mixer, refuse_task

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'mixer-method-table.md'
HEAD = """# Mixers, methods and tasks

Generated from the code by `python tools/dev/method_table.py`.

A cell lists the tasks for which a method works with a mixer: `cls` for classifiers, `seg` for
segmenters, `det` for detectors. Every other combination is refused when the model is built, with
the reason below. The plug-ins `DAFA` and `DAM` leave the row of the method that they extend
unchanged, and `DAM` needs a detector. What a method is recommended for is on its
[page](methods/README.md).
"""


def registered(base: type) -> dict[str, type]:
    """Return mmkd's subclasses of a base class by name, in alphabetic order."""
    found = {name: cls for name, cls in MODELS.module_dict.items() if is_a(cls, base)}
    ours = {name: cls for name, cls in found.items() if cls.__module__.startswith('mmkd.')}
    return dict(sorted(ours.items(), key=lambda item: item[0].lower()))


def tasks(method: type, mixer: type | None) -> list[str]:
    """Return the tasks for which a method works with a mixer."""
    if refuse_mixer(method, mixer):
        return []
    parts = [method] if mixer is None else [method, mixer]
    return [task for task in TASKS if not any(refuse_task(part, task) for part in parts)]


def reasons(methods: dict[str, type], mixers: dict[str, type]) -> dict[str, list[str]]:
    """Return the classes that are refused somewhere, by the reason."""
    found: dict[str, list[str]] = {}
    for name, cls in {**methods, **mixers}.items():
        told = {refuse_task(cls, task) for task in TASKS}
        if name in methods:
            told |= {refuse_mixer(cls, mixer) for mixer in [None, *mixers.values()]}
        for reason in sorted(filter(None, told)):
            found.setdefault(reason, []).append(name)
    return found


def row(*cells: str) -> str:
    """Return a row of a table."""
    return f'| {" | ".join(cells)} |'


def page() -> str:
    """Return the page."""
    methods, mixers = registered(Method), registered(Mixer)
    columns = {'no mixer': None, **{f'`{name}`': mixer for name, mixer in mixers.items()}}
    lines = [HEAD, row('method', *columns), '|---' * (len(columns) + 1) + '|']
    for name, method in methods.items():
        cells = (' '.join(tasks(method, mixer)) or '–' for mixer in columns.values())
        lines.append(row(f'`{name}`', *cells))
    lines += ['', '## Why', '', row('refused', 'reason, as in the error'), '|---|---|']
    for reason, names in reasons(methods, mixers).items():
        lines.append(row(', '.join(f'`{name}`' for name in names), reason))
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
    print(PAGE)
