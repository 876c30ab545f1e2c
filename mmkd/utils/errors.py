"""The one error that a wrong config gives, and its wording."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A config asks for something that cannot work.

    Args:
        key: The config key at fault, such as ``model.distill.methods.feature.student``.
        message: What is wrong and what to do.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f'{key}: {message}')


class Interrupted(SystemExit):
    """A run was asked to end and did, with its work saved; exit code 143, as of SIGTERM."""

    def __init__(self) -> None:
        super().__init__(143)


class NonFiniteError(ArithmeticError):
    """A distillation loss is NaN or infinite."""


def did_you_mean(name: str, known: Iterable[str], limit: int = 4) -> str:
    """Return a sentence with the known names nearest to ``name``, or an empty string."""
    known = list(known)
    near = get_close_matches(name, known, n=limit, cutoff=0.4)
    if not near:
        near = [k for k in known if name.split('.')[0] == k.split('.')[0]][:limit]
    if not near and len(known) <= 12:
        near = known
    return f'; the nearest are: {", ".join(near)}' if near else ''
