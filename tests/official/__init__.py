"""What the authors' code computes, case by case: one module for each family of methods."""

from __future__ import annotations

from official import dense, heads, logits, segmentation, self_distillation  # noqa: F401
from official.cases import RUNNERS, WAITING, Case, compare, names

__all__ = ['RUNNERS', 'WAITING', 'Case', 'compare', 'names']
