"""The config of a distiller: what it builds, and the errors for what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmkd.models.teacher import Teacher
from mmkd.registry import arguments_of
from mmkd.taps import Tap
from mmkd.utils import ConfigError, did_you_mean

KEY = 'model.distill'
NO_TEACHER = 'a teacher is dict(config=…, checkpoint=…), or a dict of names to those'


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
    known = arguments_of(Teacher)
    known.remove('key')
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
