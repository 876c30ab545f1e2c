"""Parts of the teacher that the student starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmkd.models.teacher import KEY, Teacher
from mmkd.utils import ConfigError, did_you_mean


def parse_parts(inherit: Any) -> tuple[str, ...]:
    """Return the parts to inherit, from a name, a list of names or None.

    Raises:
        ConfigError: It is something else.
    """
    parts = (inherit,) if isinstance(inherit, str) else inherit or ()
    if not isinstance(parts, (list, tuple)) or not all(isinstance(p, str) for p in parts):
        text = f"must be a list of parts such as ('neck', 'bbox_head'), got {inherit!r}"
        raise ConfigError(f'{KEY}.inherit', text)
    return tuple(parts)


def inheritable(
    parts: Sequence[str], teachers: Mapping[str, Teacher], student: nn.Module
) -> dict[str, dict[str, Tensor]]:
    """Return the entries of the (first) teacher that fit the student, by part.

    They are taken as they were loaded: before BatchNorm is fused and the precision lowered.

    Args:
        parts: Parts such as ``neck``.
        teachers: Teachers that have not been probed.
        student: The student.

    Raises:
        ConfigError: There is no teacher or no such part, or nothing of it has the same shape.
    """
    if not parts:
        return {}
    if not teachers:
        raise ConfigError(f'{KEY}.inherit', 'there is no teacher to inherit from')
    source = next(iter(teachers.values())).model.state_dict()
    state = student.state_dict()
    found = {}
    for part in parts:
        own = {k: v for k, v in state.items() if k.startswith(part + '.')}
        fitting = {
            k: source[k] for k, v in own.items() if k in source and source[k].shape == v.shape
        }
        if not fitting:
            known = [name for name, _ in student.named_children() if name != 'distiller']
            raise ConfigError(
                f'{KEY}.inherit',
                f'nothing of {part!r} can be copied from the teacher: no entry has the same '
                f'name and shape{did_you_mean(part, known)}',
            )
        found[part] = fitting
    return found


def copy_parts(student: nn.Module, parts: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """Copy entries into the student, in place, and return a line for every part.

    Args:
        student: The student.
        parts: What :func:`inheritable` returned.
    """
    state = student.state_dict()
    notes = []
    for part, entries in parts.items():
        for name, value in entries.items():
            state[name].copy_(value)
        whole = sum(name.startswith(part + '.') for name in state)
        notes.append(f'inherited {len(entries)} of {whole} entries of {part} from the teacher')
    return notes
