"""Record the public names of mmkd: ``python tests/golden/record_names.py``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import mmkd
from mmkd import registry
from mmkd.methods import Method
from mmkd.methods.plugins import PLUGINS

FILE = Path(__file__).parent / 'public_names.json'
ROOT = Path(__file__).resolve().parents[2]
REGISTRIES = ('MODELS', 'HOOKS', 'DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS', 'METRICS')
PACKAGES = ('mmkd', 'mmkd.methods', 'mmkd.mixers', 'mmkd.models', 'mmkd.engine', 'mmkd.datasets')


def arguments(value: Any) -> list[str]:
    """Return the arguments of a class or function, with those that it passes on to its bases."""
    if not inspect.isclass(value):
        return sorted(set(inspect.signature(value).parameters))
    names: set[str] = set()
    for base in value.__mro__:
        if '__init__' not in base.__dict__ or base is object:
            continue
        parameters = list(inspect.signature(base.__dict__['__init__']).parameters.values())[1:]
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    if issubclass(value, Method):  # the builder takes the plug-ins of any method
        names |= set(PLUGINS)
    return sorted(names)


def options(tool: Path) -> list[str]:
    """Return the options of a command-line tool."""
    text = io.StringIO()
    argv, sys.argv = sys.argv, [str(tool), '--help']
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            runpy.run_path(str(tool), run_name='__main__')
    finally:
        sys.argv = argv
    return sorted(set(re.findall(r'(?<![\w-])--[a-z][\w-]*', text.getvalue())) - {'--help'})


def public_names() -> dict[str, dict[str, list[str]]]:
    """Return the public names by group."""
    from mmkd.methods import Schedule
    from mmkd.models import Distiller, Tap, Teacher

    names: dict[str, dict[str, list[str]]] = {}
    for name in REGISTRIES:
        found = {
            key: arguments(value)
            for key, value in getattr(registry, name).module_dict.items()
            if value.__module__.startswith('mmkd.')
        }
        names[name] = dict(sorted(found.items()))
    keys = dict(distill=Distiller, teacher=Teacher, weight=Schedule, tap=Tap)
    names['config keys'] = {name: arguments(value) for name, value in keys.items()}
    names['tools'] = {t.stem: options(t) for t in sorted((ROOT / 'tools').glob('*.py'))}
    names['exports'] = {p: sorted(importlib.import_module(p).__all__) for p in PACKAGES}
    return names


if __name__ == '__main__':
    assert mmkd
    FILE.write_text(json.dumps(public_names(), indent=1) + '\n')
    print(f'recorded in {FILE}')
