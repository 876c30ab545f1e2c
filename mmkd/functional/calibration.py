"""How well a classifier's confidence matches its accuracy."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """Mean of ``-log p`` over images.

    Args:
        probs: Probability (N,) of the right class. A zero, which fp32 gives to what is below
            1e-38, counts as the smallest normal number.

    Returns:
        Scalar in nats.
    """
    return -probs.clamp(min=torch.finfo(probs.dtype).tiny).log().mean()
