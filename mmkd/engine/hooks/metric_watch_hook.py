"""A watch on a metric that fine-tuning must not spoil."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from mmkd.registry import HOOKS
from mmkd.utils import ConfigError, did_you_mean

KEY = 'custom_hooks.MetricWatchHook'


@HOOKS.register_module()
class MetricWatchHook(Hook):
    """Compare every validation with one before training, and warn or stop where it fell too far.

    For models that are trained further for something else than their metric, such as a teacher
    whose mutual information is raised (:class:`~mmkd.methods.mcmi.MCMI`). The first validation is
    that of the weights of ``load_from``; a resumed run keeps it.

    Args:
        metric: Name of a metric of the validation, of which more is better. Defaults to
            ``'accuracy/top1'``.
        max_drop: By how much it may fall, in its own unit. Defaults to 1.0.
        action: ``'warn'`` in the log, or ``'stop'`` training with an error. Defaults to
            ``'stop'``.

    Raises:
        ConfigError: The metric fell by more than ``max_drop`` and ``action`` is ``'stop'``; there
            is no validation, or it has no such metric.
    """

    def __init__(
        self, metric: str = 'accuracy/top1', max_drop: float = 1.0, action: str = 'stop'
    ) -> None:
        if action not in ('warn', 'stop'):
            raise ConfigError(f'{KEY}.action', f"use 'warn' or 'stop', not {action!r}")
        if max_drop < 0:
            raise ConfigError(f'{KEY}.max_drop', f'is not negative, unlike {max_drop}')
        self.metric = metric
        self.max_drop = max_drop
        self.action = action
        self.reference: float | None = None

    def before_train(self, runner: Any) -> None:
        """Validate what training starts from."""
        name = f'watched {self.metric}'
        self.reference = runner.message_hub.get_info(name)
        if self.reference is not None:  # a resumed run
            return
        if runner.val_loop is None:
            raise ConfigError('val_dataloader', f'{KEY} needs a validation')
        self.reference = self.value(runner.val_loop.run())
        runner.message_hub.update_info(name, self.reference)

    def after_val_epoch(self, runner: Any, metrics: dict[str, Any] | None = None) -> None:
        """Compare."""
        if self.reference is None:  # this is the first one
            return
        value = self.value(metrics or {})
        if self.reference - value <= self.max_drop:
            return
        message = (
            f'{self.metric} on val fell from {self.reference:.2f} to {value:.2f}, by more than '
            f'max_drop={self.max_drop:g}: lower the weight of the added loss or the learning rate'
        )
        if self.action == 'stop':
            raise ConfigError(KEY, message)
        runner.logger.warning(f'{KEY}: {message}')

    def value(self, metrics: dict[str, Any]) -> float:
        """Return the watched metric.

        Raises:
            ConfigError: There is none of this name.
        """
        if self.metric not in metrics:
            near = did_you_mean(self.metric, metrics)
            raise ConfigError(f'{KEY}.metric', f'val yields no {self.metric!r}{near}')
        return float(metrics[self.metric])
