"""Which tasks, mixers, methods and teachers go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmkd.methods.base import Method
from mmkd.mixers.base import Mixer
from mmkd.models.teacher import KEY
from mmkd.registry import find_task, refuse_mixer, refuse_task
from mmkd.taps import Tap
from mmkd.utils import ConfigError


def check_combination(
    student: nn.Module, mixer: Mixer | None, methods: Mapping[str, Method] | nn.ModuleDict
) -> None:
    """Check that the student's task, the mixer and the methods can be combined.

    Raises:
        ConfigError: They cannot; the message names the config key.
    """
    task = find_task(student)
    for name, method in methods.items():
        if reason := refuse_task(method, task):
            raise ConfigError(f'{KEY}.methods.{name}.type', f'method {name!r} {reason}')
        if reason := refuse_mixer(method, mixer):
            raise ConfigError(f'{KEY}.mixer', f'method {name!r} {reason}')
    if mixer is None:
        return
    if reason := refuse_task(mixer, task):
        raise ConfigError(f'{KEY}.mixer.type', f'{type(mixer).__name__} {reason}')
    if mixer.task_on == 'clean' and not methods:
        raise ConfigError(
            f'{KEY}.mixer.task_on',
            "'clean' leaves the mixed images to the methods, and there is none: add one to "
            "model.distill.methods, or set task_on to 'mixed' or 'both'",
        )
    if mixer.soft_labels and getattr(getattr(student, 'head', None), 'cal_acc', False):
        raise ConfigError(
            'model.head.cal_acc',
            'this mixer gives soft labels, for which mmpretrain cannot compute the training '
            'accuracy: set it to False',
        )


def unknown_teacher(tap: Tap, teachers: Mapping[str, Any]) -> str:
    """Return the error for a tap of a teacher that does not exist."""
    if not teachers:
        return 'the method reads a teacher and none is configured; set model.distill.teacher'
    names = ', '.join(name for name in teachers if name)
    if names:
        return f'{tap.module!r} of teacher {tap.model!r}: write <name>:<module>, names: {names}'
    return f'there is one teacher without a name: write {tap.module!r} instead of {tap}'
