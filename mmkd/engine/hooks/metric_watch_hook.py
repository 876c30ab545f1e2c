"""Guard a metric against degradation during fine-tuning."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from mmkd.registry import HOOKS
from mmkd.utils import ConfigError, config_key, did_you_mean, non_negative, one_of

KEY = 'custom_hooks.MetricWatchHook'


@HOOKS.register_module()
class MetricWatchHook(Hook):
    """Compare every validation with one before training; warn or stop if the metric dropped.

    For models that are fine-tuned for something else than their metric, such as a teacher whose
    mutual information is maximized (:class:`~mmkd.methods.mcmi.MCMI`). The reference is the
    validation of the weights of ``load_from``; a resumed run keeps it. mmengine's
    EarlyStoppingHook compares with the best value or a fixed threshold instead.

    Args:
        metric: Name of a validation metric; higher is better. Defaults to ``'accuracy/top1'``.
        max_drop: Largest drop allowed, in the metric's unit. Defaults to 1.0.
        action: ``'warn'`` in the log, or ``'stop'`` training with an error. Defaults to
            ``'stop'``.

    Raises:
        ConfigError: The metric dropped by more than ``max_drop`` and ``action`` is ``'stop'``;
            there is no validation, or it has no such metric.
    """

    def __init__(
        self, metric: str = 'accuracy/top1', max_drop: float = 1.0, action: str = 'stop'
    ) -> None:
        self.metric = metric
        with config_key(KEY):
            self.max_drop = non_negative(max_drop=max_drop)
            self.action = one_of(('warn', 'stop'), action=action)
        self.reference: float | None = None

    def before_train(self, runner: Any) -> None:
        """Validate the initial weights."""
        name = f'watched {self.metric}'
        self.reference = runner.message_hub.get_info(name)
        if self.reference is not None:  # a resumed run
            return
        if runner.val_loop is None:
            raise ConfigError('val_dataloader', f'{KEY} needs a validation')
        self.reference = self.value(runner.val_loop.run())
        runner.message_hub.update_info(name, self.reference)

    def after_val_epoch(self, runner: Any, metrics: dict[str, Any] | None = None) -> None:
        """Compare with the reference."""
        if self.reference is None:  # this is the first validation
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
            ConfigError: There is no such metric.
        """
        if self.metric not in metrics:
            near = did_you_mean(self.metric, metrics)
            raise ConfigError(f'{KEY}.metric', f'validation has no {self.metric!r}{near}')
        return float(metrics[self.metric])
