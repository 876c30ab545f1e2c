"""Weights that change during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmkd.utils import (
    ConfigError,
    check_names,
    config_key,
    deprecated,
    epoch_progress,
    integer,
    non_negative,
    one_of,
)


@dataclass(frozen=True)
class Schedule:
    """Weight of a method as a function of the training iteration.

    It has no state, so a resumed run continues where it stopped.

    Args:
        value: Full weight, ≥ 0.
        warmup_iters: Linear rise from 0 over this many iterations after ``begin``. Defaults to 0.
        begin: First iteration with a weight. Defaults to 0.
        end: The weight is 0 from this iteration on. Defaults to None, never.
        decay: ``'linear'`` or ``'cosine'`` fall to 0 at ``end`` (or the last iteration), from the
            end of the warm-up on. Defaults to None.
        every: Use the method only in every n-th iteration. Defaults to 1.
        warmup_step: The rise has steps of this many iterations, such as those of an epoch. Defaults
            to 1.
    """

    value: float
    warmup_iters: int = 0
    begin: int = 0
    end: int | None = None
    decay: str | None = None
    every: int = 1
    warmup_step: int = 1

    @classmethod
    def parse(cls, weight: Any, warmup_iters: Any = None, every: Any = None) -> Schedule:
        """Turn the ``weight`` of a config into a schedule.

        Args:
            weight: A number, or a dict of this class's arguments.
            warmup_iters: Deprecated; use the dict. Defaults to None.
            every: Deprecated; use the dict. Defaults to None.

        Raises:
            ConfigError: It is negative or not finite, or a key is unknown or out of range.
        """
        config = dict(weight) if isinstance(weight, Mapping) else dict(value=weight)
        for name, value in dict(warmup_iters=warmup_iters, every=every).items():
            if value is not None:
                deprecated(f'{name}={value}', f'weight=dict(value=…, {name}={value})', 4)
                config.setdefault(name, value)
        several = isinstance(weight, Mapping)
        with config_key('weight' if several else ''):
            check_names(config, cls.__dataclass_fields__)
            non_negative(**{'value' if several else 'weight': config.get('value')})
            one_of((None, 'linear', 'cosine'), decay=config.get('decay'))
            for name, least in dict(warmup_iters=0, begin=0, every=1, warmup_step=1).items():
                integer(least, **{name: config.get(name, least)})
            integer(config.get('begin', 0) + 1, optional=True, end=config.get('end'))
        return cls(**config)

    def at(self, iteration: int, max_iters: int | None = None) -> float:
        """Return the weight at an iteration.

        Args:
            iteration: Iteration, counted from 0.
            max_iters: Length of the training, which a decay without ``end`` needs.
        """
        t = iteration - self.begin
        if t < 0 or t % self.every or (self.end is not None and iteration >= self.end):
            return 0.0
        if t < self.warmup_iters:
            risen = (t // self.warmup_step + 1) * self.warmup_step
            return self.value * min(risen / self.warmup_iters, 1)
        last = self.end if self.end is not None else max_iters
        if self.decay is None or last is None:
            return float(self.value)
        length = max(last - self.begin - self.warmup_iters, 1)
        left = 1 - min((t - self.warmup_iters) / length, 1.0)
        if self.decay == 'cosine':
            left = 0.5 - 0.5 * math.cos(math.pi * left)
        return self.value * left


def progressive(alpha: float, name: str) -> tuple[int, float]:
    """Return the current epoch, counted from 0, and ``α_t = α_T · t / E`` in epoch t of E.

    Args:
        alpha: α_T, reached in the last epoch.
        name: Name of the method, for the error.

    Raises:
        ConfigError: The training does not count epochs.
    """
    epoch, epochs = epoch_progress()
    if epochs is None:  # outside of a Runner
        return epoch, alpha
    if epochs < 2:
        raise ConfigError(
            'train_cfg',
            f'{name} learns from the previous epoch: use a loop over at least two epochs '
            '(by_epoch=True)',
        )
    return epoch, alpha * (epoch + 1) / epochs
