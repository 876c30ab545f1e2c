"""How much a classifier's output says of an image beyond its class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def class_sums(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the outputs of a batch by class.

    Those of batches and ranks add up; the centroid of class c is ``sums[c] / counts[c]``.

    Source: Ye et al., "Bayes Conditional Distribution Estimation for Knowledge Distillation Based
    on Conditional Mutual Information", ICLR 2024.

    Args:
        probs: Distributions (N, K).
        labels: Label distributions (N, K); an image counts for a class as much as it is of it.

    Returns:
        Sums (K, K), a row for each class, and counts (K,).
    """
    return labels.T @ probs, labels.sum(0)


def conditional_mutual_information(
    logits: Tensor, centroids: Tensor, labels: Tensor, eps: float = 1e-6
) -> Tensor:
    """Empirical I(X; Ŷ | Y): how far the outputs of a class are from their centroid.

    ``CMI = 1/N Σ_i Σ_c y_ic KL(p_i || q_c)``, which for hard labels is the mean of
    ``KL(p_i || q_{y_i})``.

    Source: Ye et al., "Bayes Conditional Distribution Estimation for Knowledge Distillation Based
    on Conditional Mutual Information", ICLR 2024.

    Args:
        logits: Logits (N, K), with gradient; at temperature 1.
        centroids: Mean distributions (K, K), a row for each class, without gradient; a row of zeros
            for a class that has none, whose images then count nothing.
        labels: Label distributions (N, K).
        eps: Least probability of a centroid. Defaults to 1e-6.

    Returns:
        Scalar in nats; 0 where every output is its centroid, and at most ``-log(eps)``.

    Deviations: soft labels are ours; the sum over classes is the same information of a label that
    is drawn from them.
    """
    log_probs = F.log_softmax(logits, dim=1)
    labels = labels * centroids.any(1)
    # Σ_c y_ic (log p_ik - log q_ck), with the sum over classes first.
    distances = labels.sum(1, keepdim=True) * log_probs - labels @ centroids.clamp(min=eps).log()
    return (log_probs.exp() * distances).sum(1).mean()
