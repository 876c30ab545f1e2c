"""The config of a distiller: what it builds, and the errors for what it cannot."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmkd.models.taps import Tap
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, did_you_mean

KEY = 'model.distill'
NO_TEACHER = 'a teacher is dict(config=…, checkpoint=…), or a dict of names to those'


def build(config: Any, base: type, key: str) -> Any:
    """Build a mixer or a method, with errors that name the key.

    Raises:
        ConfigError: The type is unknown, is something else, or an argument does not exist.
    """
    name = config.get('type') if isinstance(config, Mapping) else None
    if name is None:
        raise ConfigError(key, f'is a dict with a `type`, not {config!r}')
    found = MODELS.get(name) if isinstance(name, str) else name
    kind = base.__name__.lower()
    if not is_a(found, base):
        known = [f'mmkd.{n}' for n, c in MODELS.module_dict.items() if is_a(c, base)]
        what = f'no {kind} {name!r}' if found is None else f'{name!r} is no {kind}'
        raise ConfigError(f'{key}.type', f'{what}{did_you_mean(str(name), known, 6)}')
    arguments = {k: v for k, v in config.items() if k != 'type'}
    known = arguments_of(found)
    for argument in arguments:
        if argument not in known:
            raise ConfigError(
                f'{key}.{argument}',
                f'{found.__name__} has no such argument{did_you_mean(argument, known)}',
            )
    try:
        return found(**arguments)
    except TypeError as error:
        raise ConfigError(key, str(error).replace('.__init__()', '')) from error


def arguments_of(cls: type) -> list[str]:
    """Return the names of a class's arguments, those that it passes on to its bases included."""
    names: list[str] = []
    for base in cls.__mro__:
        if '__init__' not in base.__dict__:
            continue
        parameters = list(inspect.signature(base.__dict__['__init__']).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return names


def is_a(value: Any, base: type) -> bool:
    """Whether a registered value is a subclass of ``base``."""
    return isinstance(value, type) and issubclass(value, base)


def teacher_configs(teacher: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any], str]]:
    """Return name, config and config key of every teacher."""
    if not teacher:
        return []
    if not isinstance(teacher, Mapping):
        raise ConfigError(f'{KEY}.teacher', NO_TEACHER)
    if 'config' in teacher:
        return [('', teacher, f'{KEY}.teacher')]
    return [(name, config, f'{KEY}.teacher.{name}') for name, config in teacher.items()]


def check_arguments(config: Any, key: str) -> dict[str, Any]:
    """Return a teacher's arguments.

    Raises:
        ConfigError: One is unknown, or ``config`` is missing.
    """
    known = ('config', 'checkpoint', 'precision', 'fuse_conv_bn', 'channels_last', 'trusted')
    if not isinstance(config, Mapping) or 'config' not in config:
        raise ConfigError(key, NO_TEACHER)
    for name in config:
        if name not in known:
            raise ConfigError(f'{key}.{name}', f'no such argument{did_you_mean(name, known)}')
    return dict(config)


def unknown_teacher(tap: Tap, teachers: Mapping[str, Any]) -> str:
    """Word the error for a tap of a teacher that is not there."""
    if not teachers:
        return 'the method reads a teacher and none is configured; set model.distill.teacher'
    names = ', '.join(name for name in teachers if name)
    if names:
        return f'{tap.module!r} of teacher {tap.model!r}: write <name>:<module>, names: {names}'
    return f'there is one teacher without a name: write {tap.module!r} instead of {tap}'
