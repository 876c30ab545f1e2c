"""Calibration of classifiers as a metric of mmengine's evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mmkd.functional import expected_calibration_error, negative_log_likelihood
from mmkd.registry import METRICS
from mmkd.utils import ConfigError


@METRICS.register_module()
class Calibration(BaseMetric):
    """Expected calibration error and negative log-likelihood of mmpretrain's classifiers.

    It reports ``calibration/ece`` in percent and ``calibration/nll`` in nats, from the predicted
    probabilities ``pred_score`` and the label ``gt_label`` of the data samples. Use it beside the
    accuracy: ``val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.Calibration')]``.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    Args:
        bins: Bins of equal width. Defaults to 15.
        collect_device: Where the results of all ranks are collected. Defaults to ``'cpu'``.
        prefix: Prefix of the metrics' names. Defaults to None, ``'calibration'``.

    Raises:
        ConfigError: There is less than one bin.
    """

    default_prefix = 'calibration'

    def __init__(
        self, bins: int = 15, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if bins < 1:
            raise ConfigError('val_evaluator.bins', f'is a whole number from 1 on, not {bins}')
        self.bins = bins

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep confidence, success and the right class's probability of every image.

        Args:
            data_batch: Not used.
            data_samples: Data samples with ``pred_score`` (K,) and ``gt_label`` (1,).

        Raises:
            ConfigError: They have several labels, or no probabilities.
        """
        for sample in data_samples:
            score, label = sample.get('pred_score'), sample.get('gt_label')
            if score is None or label is None or len(label) != 1:
                raise ConfigError(
                    'val_evaluator',
                    'mmkd.Calibration needs pred_score and one gt_label for each image',
                )
            score = score.double().cpu()
            confidence, predicted = score.max(0)
            right = int(label)
            self.results.append((float(confidence), int(predicted) == right, float(score[right])))

    def compute_metrics(self, results: list[tuple[float, bool, float]]) -> dict[str, float]:
        """Return ``ece`` in percent and ``nll`` in nats."""
        confidence, correct, probs = (torch.tensor(column) for column in zip(*results))
        confidence, probs = confidence.double(), probs.double()
        return dict(
            ece=100 * float(expected_calibration_error(confidence, correct, self.bins)),
            nll=float(negative_log_likelihood(probs)),
        )
