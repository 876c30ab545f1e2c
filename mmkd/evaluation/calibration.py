"""Calibration of classifiers as an mmengine metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmkd.registry import METRICS
from mmkd.utils import ConfigError, config_key, integer


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 15) -> Tensor:
    """Expected calibration error ``Σ_b n_b / N · |accuracy_b - confidence_b|``.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3: bins of equal
    width, ``((b - 1) / B, b / B]``.

    Args:
        confidence: Probability (N,) of the predicted class.
        correct: Whether it is the right class (N,), bool.
        bins: Number of bins B. Defaults to 15.

    Returns:
        Scalar between 0 and 1.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    bin_of = torch.bucketize(confidence, edges[1:-1].contiguous())  # (N,)
    gap = correct.to(confidence) - confidence
    # The counts cancel: n_b · |accuracy_b - confidence_b| = |Σ (correct - confidence)|.
    sums = torch.zeros(bins, dtype=confidence.dtype, device=confidence.device)
    return sums.index_add(0, bin_of, gap).abs().sum() / len(confidence)


def negative_log_likelihood(probs: Tensor) -> Tensor:
    """Mean of ``-log p`` in nats, with the probabilities (N,) of the right classes.

    A zero, to which fp32 rounds anything below 1e-38, counts as the smallest normal number.
    """
    return -probs.clamp(min=torch.finfo(probs.dtype).tiny).log().mean()


@METRICS.register_module()
class Calibration(BaseMetric):
    """Expected calibration error and negative log-likelihood of mmpretrain's classifiers.

    It reports ``calibration/ece`` in percent and ``calibration/nll`` in nats, computed from
    ``pred_score`` (probabilities) and ``gt_label`` of the data samples. Use it beside the
    accuracy: ``val_evaluator = [dict(type='Accuracy'), dict(type='mmkd.Calibration')]``.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.

    Args:
        bins: Number of bins of equal width. Defaults to 15.
        collect_device: Device that collects the results of all ranks. Defaults to ``'cpu'``.
        prefix: Prefix of the metrics' names. Defaults to None, ``'calibration'``.
    """

    default_prefix = 'calibration'

    def __init__(
        self, bins: int = 15, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        with config_key('val_evaluator'):
            self.bins = integer(1, bins=bins)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Record confidence, correctness and the probability of the true class of every image.

        Every sample must have probabilities ``pred_score`` (K,) and one ``gt_label`` (1,).
        """
        for sample in data_samples:
            score, label = sample.get('pred_score'), sample.get('gt_label')
            if score is None or label is None or len(label) != 1:
                raise ConfigError(
                    'val_evaluator',
                    'mmkd.Calibration needs pred_score and exactly one gt_label per image',
                )
            score = score.double().cpu()
            confidence, predicted = score.max(0)
            true = int(label)
            self.results.append((float(confidence), int(predicted) == true, float(score[true])))

    def compute_metrics(self, results: list[tuple[float, bool, float]]) -> dict[str, float]:
        """Return ``ece`` in percent and ``nll`` in nats."""
        confidence, correct, probs = (torch.tensor(column) for column in zip(*results))
        confidence, probs = confidence.double(), probs.double()
        return dict(
            ece=100 * float(expected_calibration_error(confidence, correct, self.bins)),
            nll=float(negative_log_likelihood(probs)),
        )
