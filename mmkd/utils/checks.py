"""Validators of arguments: each takes one keyword, returns its value, or raises a ConfigError.

The key of the error is the keyword, so ``self.tau = positive(tau=tau)`` is all that a method or
mixer needs. The builder prefixes the path of the config.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from mmkd.utils.errors import ensure


def positive(**argument: Any) -> Any:
    """Return a finite number above 0."""
    return _checked(argument, lambda v: _number(v) and v > 0, 'must be positive')


def non_negative(**argument: Any) -> Any:
    """Return a finite number of at least 0."""
    return _checked(argument, lambda v: _number(v) and v >= 0, 'must be non-negative')


def at_least(minimum: float, **argument: Any) -> Any:
    """Return a finite number of at least ``minimum``."""
    return _checked(argument, lambda v: _number(v) and v >= minimum, f'must be at least {minimum}')


def between(low: float, high: float, **argument: Any) -> Any:
    """Return a number from ``low`` to ``high``, both included."""
    text = f'must be between {low} and {high}'
    return _checked(argument, lambda v: _number(v) and low <= v <= high, text)


def probability(**argument: Any) -> Any:
    """Return a number from 0 to 1."""
    return between(0, 1, **argument)


def fraction(**argument: Any) -> Any:
    """Return a number above 0 and at most 1."""
    return _checked(argument, lambda v: _number(v) and 0 < v <= 1, 'must be in (0, 1]')


def integer(minimum: int, optional: bool = False, **argument: Any) -> Any:
    """Return an integer of at least ``minimum``; None as well if ``optional``."""
    kind = {0: 'a non-negative integer', 1: 'a positive integer'}.get(minimum)
    text = f'must be {kind or f"an integer of at least {minimum}"}{" or None" if optional else ""}'
    return _checked(
        argument, lambda v: (optional and v is None) or (type(v) is int and v >= minimum), text
    )


def term_weights(**weights: Any) -> dict[str, Any]:
    """Return the weights of a method's terms, each an argument ``<term>_weight``; not all are 0."""
    for term, weight in weights.items():
        non_negative(**{f'{term}_weight': weight})
    first = next(iter(weights))
    ensure(any(weights.values()), f'{first}_weight', 'all weights are 0: set weight=0')
    return weights


def one_of(choices: Collection[Any], **argument: Any) -> Any:
    """Return one of the choices."""
    listed = ', '.join(repr(choice) for choice in choices)
    text = f'must be {"" if len(choices) == 1 else "one of "}{listed}'
    return _checked(argument, lambda v: any(v is c or v == c for c in choices), text)


def _number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _checked(argument: dict[str, Any], valid: Any, text: str) -> Any:
    ((name, value),) = argument.items()
    ensure(valid(value), name, f'{text}, got {value!r}')
    return value
