"""Errors that OpenMMLab or torch raise for a config that mmkd did not check: one line with a key.

``MMKD_TRACEBACK=1`` in the environment shows the traceback instead.
"""

from __future__ import annotations

import os
import pickle
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.config import Config

import mmkd
from mmkd.utils.errors import ConfigError, NonFiniteError, did_you_mean, first_line

SWITCH = 'MMKD_TRACEBACK'
OWN = str(Path(mmkd.__file__).parent) + os.sep
PACKAGES = tuple(
    {sysconfig.get_path(name) + os.sep for name in ('stdlib', 'purelib', 'platlib')} | {'<frozen'}
)
LOOPS = str(Path('mmengine', 'runner', 'loops.py'))


@contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Turn exceptions inside into a ConfigError with the key of the part that cannot be built.

    Those of the code of users keep their traceback, and so do those after the first iteration.

    Args:
        cfg: The config that is built or run inside.

    Raises:
        ConfigError: A part of the config cannot be built, or the first step fails.
    """
    try:
        yield
    except (ConfigError, NonFiniteError, ImportError, pickle.UnpicklingError):
        raise
    except Exception as error:
        problem = None if os.environ.get(SWITCH) else explain(error, cfg)
        if problem is None:
            raise
        raise problem from error


def explain(error: Exception, cfg: Config) -> ConfigError | None:
    """Return the config's error behind an exception, or None if a traceback says more."""
    # The first frame is that of explained(), the second one of the tool.
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][2:]
    places = [i for i, frame in enumerate(frames) if frame.f_code.co_name == 'build_from_cfg']
    files = [frame.f_code.co_filename for frame in frames[places[-1] if places else 0 :]]
    known = [file.startswith((OWN, *PACKAGES)) or file.endswith('.pyx') for file in files]
    if not all(known) or not files or late(frames):
        return None
    text = f'{type(error).__name__}: {first_line(error)}'
    if str(error).startswith('Caught '):  # in a worker process, whose last line is the reason
        text = str(error).strip().splitlines()[-1]
    hint = f'; {SWITCH}=1 shows where'
    for place in reversed(places):
        names = frames[place].f_locals
        node, registry = names.get('cfg'), names.get('registry')
        if not isinstance(node, Mapping) or node is cfg:
            continue
        kind = node.get('type')
        key = find_key(cfg, node) or 'config'
        unknown = isinstance(error, KeyError) and 'registry' in str(error)
        if unknown and registry is not None and isinstance(kind, str):
            near = did_you_mean(kind, known_types(registry))
            return ConfigError(f'{key}.type', f'there is no {registry.name} {kind!r}{near}')
        name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
        return ConfigError(key, f'cannot build {name}: {text}{hint}')
    where = 'the first step fails' if any(in_loop(frame) for frame in frames) else 'the run fails'
    return ConfigError('config', f'{where}: {text}{hint}')


def in_loop(frame: FrameType) -> bool:
    """Whether a frame is an iteration of one of mmengine's loops."""
    return frame.f_code.co_filename.endswith(LOOPS) and frame.f_code.co_name == 'run_iter'


def late(frames: list[FrameType]) -> bool:
    """Whether a training loop has done an iteration before the last of these frames."""
    loops = [f.f_locals.get('self') for f in frames if f.f_code.co_filename.endswith(LOOPS)]
    return any(getattr(loop, '_iter', 0) > 0 for loop in loops)


def known_types(registry: Any) -> list[str]:
    """Return the types of a registry, its parent's and its children's."""
    names = list(registry.module_dict)
    names += [f'{c.scope}.{name}' for c in registry.children.values() for name in c.module_dict]
    return names + (list(registry.parent.module_dict) if registry.parent is not None else [])


def find_key(node: Any, wanted: Mapping[str, Any], key: str = '') -> str | None:
    """Return the key of the part of a config that equals ``wanted``, or of one of its type."""
    same = [path for path, part in parts(node, key) if part == wanted]
    kind = wanted.get('type')
    return next(iter(same or [p for p, part in parts(node, key) if part.get('type') == kind]), None)


def parts(node: Any, key: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the mappings inside a config with their keys."""
    items: Any = ()
    if isinstance(node, (Mapping, Config)):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for name, value in items:
        path = f'{key}.{name}'.lstrip('.')
        if isinstance(value, Mapping):
            yield path, value
        yield from parts(value, path)
