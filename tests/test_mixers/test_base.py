"""What mixers share: draws of weights."""

from __future__ import annotations

import pytest
import torch

from mmkd.mixers.base import beta


@pytest.mark.parametrize('alpha', [0.2, 1.0, 4.0])
def test_beta(alpha):
    """Mean ½ and variance 1 / (4 (2 α + 1)) of Beta(α, α)."""
    values = beta(alpha, 20000, torch.Generator().manual_seed(0))
    assert float(values.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(values.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
