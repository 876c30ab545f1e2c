"""Random changes of a config: one mistake each, as users make them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

VALUES = (None, 'abc', 7, -1, 2.5, True, [], {}, (1, 2), [None], 'neck', {'type': 'mmkd.AT'})
NUMBERS = (0, -1, 0.5, 2.5, 1e-30, 1, 7, 33, float('nan'), float('inf'), -float('inf'))
Path = tuple[Any, ...]
Change = Callable[[Any, random.Random], str]


def mutate(config: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], str]:
    """Return a copy of a config with one mistake, and what was changed."""
    for _ in range(100):
        changed = clone(config)
        kind = rng.choice((drop, misspell, retype, renumber, renumber, exchange, relevel, replace))
        entries = list(leaves(changed))
        if rng.random() < 0.75:  # what users write themselves
            inside = [e for e in entries if e[0][:2] == ('model', 'distill')]
            entries = [e for e in inside if e[0][2:5] != ('teacher', 'config', 'model')]
        done = kind(entries, changed, rng)
        if done and changed != config:
            return changed, f'{kind.__name__}: {done}'
    raise AssertionError('nothing to change')


def clone(node: Any) -> Any:
    """Copy a config; no two entries of it are one object."""
    if isinstance(node, dict):
        return {k: clone(v) for k, v in node.items()}
    return [clone(v) for v in node] if isinstance(node, list) else node


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Yield path, owner and name of every entry of a config."""
    names: Any = range(len(node)) if isinstance(node, list) else ()
    for name in list(node) if isinstance(node, dict) else names:
        yield (*path, name), node, name
        yield from leaves(node[name], (*path, name))


def text_of(path: Path) -> str:
    """Return a path as a key."""
    return '.'.join(map(str, path))


def drop(entries: list[Any], config: Any, rng: random.Random) -> str:
    """Remove an entry."""
    path, owner, name = rng.choice(entries)
    del owner[name]
    return text_of(path)


def misspell(entries: list[Any], config: Any, rng: random.Random) -> str | None:
    """Leave out or double a letter of a key or of a value."""
    path, owner, name = rng.choice(entries)
    value = isinstance(owner[name], str) and rng.random() < 0.6
    word = owner[name] if value else name
    if not isinstance(word, str) or len(word) < 2:
        return None
    place = rng.randrange(len(word))
    wrong = word[:place] + (word[place] * 2 if rng.random() < 0.5 else '') + word[place + 1 :]
    if value:
        owner[name] = wrong
    else:
        owner[wrong] = owner.pop(name)
    return f'{text_of(path)}: {wrong}'


def retype(entries: list[Any], config: Any, rng: random.Random) -> str:
    """Set an entry to something of another type."""
    path, owner, name = rng.choice(entries)
    owner[name] = copy.deepcopy(rng.choice(VALUES))
    return f'{text_of(path)} = {owner[name]!r}'


def renumber(entries: list[Any], config: Any, rng: random.Random) -> str | None:
    """Set a number to another one."""
    numbers = [e for e in entries if type(e[1][e[2]]) in (int, float)]
    if not numbers:
        return None
    path, owner, name = rng.choice(numbers)
    owner[name] = rng.choice(NUMBERS)
    return f'{text_of(path)} = {owner[name]!r}'


def exchange(entries: list[Any], config: Any, rng: random.Random) -> str | None:
    """Exchange what belongs to student and teacher: taps, or the whole models."""
    owners = [(path, owner) for path, owner, name in entries if name == 'student' and path[:-1]]
    owners = [(path, owner) for path, owner in owners if 'teacher' in owner]
    if owners and rng.random() < 0.7:
        path, owner = rng.choice(owners)
        owner['student'], owner['teacher'] = owner['teacher'], owner['student']
        return text_of(path)
    model = config['model']
    teacher = (model.get('distill') or {}).get('teacher')
    if not teacher:
        return None
    names = [name for name in model if name not in ('type', 'student', 'distill')]
    own = {name: model.pop(name) for name in names}
    other = teacher['config']['model']
    model.update({k: v for k, v in other.items() if k != 'type'})
    teacher['config']['model'] = dict(own, type=other['type'])
    return 'the models'


def relevel(entries: list[Any], config: Any, rng: random.Random) -> str | None:
    """Choose other levels, perhaps on one side."""
    methods = (config['model']['distill'].get('methods') or {}).items()
    name, method = rng.choice([(n, m) for n, m in methods if isinstance(m, dict)])
    levels = rng.choice(((0,), (2, 1, 0), (-1,), (0, 1), (1, 2), (9,), (0, 0), (1,), (2, 3)))
    side = rng.choice(('student', 'teacher', None))
    if side is None or not isinstance(method.get(side), str):
        method['levels'] = levels
        return f'{name}.levels = {levels}'
    method[side] = dict(module=method[side], levels=levels)
    return f'{name}.{side}.levels = {levels}'


def replace(entries: list[Any], config: Any, rng: random.Random) -> str | None:
    """Put one entry in the place of another, or another type in the place of one."""
    path, owner, name = rng.choice(entries)
    if name == 'type':
        owner[name] = rng.choice([o[n] for _, o, n in entries if n == 'type'] + list(TYPES))
    else:
        _, other, key = rng.choice(entries)
        owner[name] = copy.deepcopy(other[key])
    return f'{text_of(path)} = {owner[name]!r}'


TYPES = (
    'mmkd.LogitKD', 'mmkd.FeatureMimic', 'mmkd.DIST', 'mmkd.CWD', 'mmkd.FGD', 'mmkd.AT', 'mmkd.OFA',
    'mmkd.MGD', 'mmkd.CIRKD', 'mmkd.DKD', 'mmkd.PKD', 'mmkd.PatchMix', 'mmkd.PatchSwap', 'mmkd.LD',
)  # fmt: skip
