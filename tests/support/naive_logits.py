"""Loop versions of the refined logit losses, written from their formulas, in fp64."""

from __future__ import annotations

import math
from collections.abc import Sequence

from support import naive

Rows = Sequence[Sequence[float]]


def others(row: Sequence[float], target: int) -> list[float]:
    """Return a row without its target."""
    return [v for k, v in enumerate(row) if k != target]


def nkd(student: Rows, teacher: Rows, targets: Sequence[int], tau: float) -> tuple[float, float]:
    """Return NKD's two terms, without γ; the target is dropped before the softmax."""
    own = rest = 0.0
    for s, t, y in zip(student, teacher, targets, strict=True):
        own -= naive.softmax(t)[y] * math.log(naive.softmax(s)[y])
        t_hat = naive.softmax([v / tau for v in others(t, y)])
        s_hat = naive.softmax([v / tau for v in others(s, y)])
        rest -= tau**2 * sum(a * math.log(b) for a, b in zip(t_hat, s_hat))
    return own / len(targets), rest / len(targets)


def dkd(student: Rows, teacher: Rows, targets: Sequence[int], tau: float) -> tuple[float, float]:
    """Return TCKD and NCKD."""
    tckd = nckd = 0.0
    for s, t, y in zip(student, teacher, targets, strict=True):
        p_s, p_t = (naive.softmax([v / tau for v in row])[y] for row in (s, t))
        tckd += tau**2 * naive.divergence([p_t, 1 - p_t], [p_s, 1 - p_s])
        nckd += naive.kl(naive.softmax([v / tau for v in others(t, y)]), others(s, y), tau)
    return tckd / len(targets), nckd / len(targets)


def pearson(u: Sequence[float], v: Sequence[float]) -> float:
    """Return the correlation of two lists, 1e-8 added to what it is divided by."""
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    covariance = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    variances = [sum((a - m) ** 2 for a in w) for w, m in ((u, mean_u), (v, mean_v))]
    return covariance / (math.sqrt(variances[0] * variances[1]) + 1e-8)


def dist(student: Rows, probs: Rows, tau: float) -> tuple[float, float]:
    """Return DIST's two terms, without β and γ.

    Args:
        student: Logits.
        probs: The teacher's probabilities at the temperature.
        tau: Temperature.
    """
    own = [naive.softmax([v / tau for v in row]) for row in student]
    rows = [1 - pearson(u, v) for u, v in zip(own, probs, strict=True)]
    columns = [1 - pearson(u, v) for u, v in zip(zip(*own), zip(*probs), strict=True)]
    return tau**2 * sum(rows) / len(rows), tau**2 * sum(columns) / len(columns)


def unit_std(row: Sequence[float]) -> list[float]:
    """Return a row divided by its unbiased standard deviation."""
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in row) / (len(row) - 1))
    return [v / deviation for v in row]


def cross_entropy(logits: Rows, labels: Rows) -> float:
    """Return the mean cross-entropy with distributions as labels."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        probs = naive.softmax(row)
        total -= sum(w * math.log(p) for w, p in zip(label, probs, strict=True))
    return total / len(logits)


def mix_kd(
    student: Rows, teacher: Rows, labels: Rows, alpha: float, gamma: float
) -> tuple[float, float]:
    """Return MIX-KD's class loss and its divergence, with their weights."""
    rescaled = [unit_std(row) for row in student]
    divergences = [
        naive.kl(naive.softmax(unit_std(t)), s, 1.0) for s, t in zip(rescaled, teacher, strict=True)
    ]
    return gamma * cross_entropy(rescaled, labels), alpha * sum(divergences) / len(divergences)
