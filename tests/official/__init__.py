"""What the authors' code computes, case by case: one module for each family of methods."""

from __future__ import annotations

from official import (  # noqa: F401
    dense,
    heads,
    logits,
    segmentation,
    self_distillation,
    teacher_free,
)
from official.cases import DEVIATIONS, RUNNERS, WAITING, Case, compare, names

__all__ = ['DEVIATIONS', 'RUNNERS', 'WAITING', 'Case', 'compare', 'names']
