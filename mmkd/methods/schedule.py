"""Weights that change during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmkd.utils import ConfigError, did_you_mean, epoch_progress


@dataclass(frozen=True)
class Schedule:
    """Weight of a method as a function of the training iteration.

    It keeps no state, so a resumed run continues where it was.

    Args:
        value: Full weight, ≥ 0.
        warmup_iters: Linear rise from 0 over so many iterations after ``begin``. Defaults to 0.
        begin: First iteration with a weight. Defaults to 0.
        end: The weight is 0 from this iteration on. Defaults to None, never.
        decay: ``'linear'`` or ``'cosine'`` fall to 0 at ``end`` (or the last iteration), from the
            end of the warm-up on. Defaults to None.
        every: Use the method only every so many iterations. Defaults to 1.
    """

    value: float
    warmup_iters: int = 0
    begin: int = 0
    end: int | None = None
    decay: str | None = None
    every: int = 1

    @classmethod
    def parse(cls, weight: Any, key: str, warmup_iters: int = 0, every: int = 1) -> Schedule:
        """Turn ``weight`` of a config into a schedule.

        Raises:
            ConfigError: It is negative, not finite, or its keys are unknown or out of range.
        """
        config = dict(weight) if isinstance(weight, Mapping) else dict(value=weight)
        config.setdefault('warmup_iters', warmup_iters)
        config.setdefault('every', every)
        known = list(cls.__dataclass_fields__)
        for name in set(config) - set(known):
            raise ConfigError(f'{key}.{name}', f'no such key{did_you_mean(name, known)}')
        if 'value' not in config:
            raise ConfigError(key, f'a schedule has a `value`; it takes {", ".join(known)}')
        value = config['value']
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(key, f'a weight is a number or a schedule, not {value!r}')
        if not math.isfinite(value) or value < 0:
            raise ConfigError(key, f'a weight is finite and not negative, not {value}')
        if config.get('decay') not in (None, 'linear', 'cosine'):
            raise ConfigError(f'{key}.decay', "use 'linear', 'cosine' or None")
        for name, least in dict(warmup_iters=0, begin=0, end=0, every=1).items():
            count = config.get(name, least)
            if name == 'end' and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise ConfigError(
                    f'{key}.{name}', f'is a whole number from {least} on, not {count!r}'
                )
        schedule = cls(**config)
        if schedule.end is not None and schedule.end <= schedule.begin:
            raise ConfigError(
                f'{key}.end', f'{schedule.end} is not after begin={schedule.begin}: never active'
            )
        return schedule

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
            return self.value * (t + 1) / self.warmup_iters
        last = self.end if self.end is not None else max_iters
        if self.decay is None or last is None:
            return float(self.value)
        length = max(last - self.begin - self.warmup_iters, 1)
        left = 1 - min((t - self.warmup_iters) / length, 1.0)
        if self.decay == 'cosine':
            left = 0.5 - 0.5 * math.cos(math.pi * left)
        return self.value * left


def progressive(alpha: float, key: str) -> tuple[int, float]:
    """Return the current epoch, counted from 0, and ``α_t = α_T · t / E`` in epoch t of E.

    Args:
        alpha: α_T, reached in the last epoch.
        key: Config key of the method, for the error.

    Raises:
        ConfigError: The training does not count epochs.
    """
    epoch, epochs = epoch_progress()
    if epochs is None:  # outside of a Runner
        return epoch, alpha
    if epochs < 2:
        raise ConfigError(
            'train_cfg',
            f'{key} learns from the epoch before: it needs a loop over epochs (by_epoch=True) and '
            'at least two of them',
        )
    return epoch, alpha * (epoch + 1) / epochs
