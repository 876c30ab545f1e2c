"""What a student copies from its teacher."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmkd.models.inherit import inheritable
from mmkd.utils import ConfigError


def model(width: int) -> nn.Module:
    return nn.ModuleDict(
        dict(
            backbone=nn.Linear(3, width),
            neck=nn.Sequential(nn.Linear(width, 4), nn.BatchNorm1d(4)),
            head=nn.Linear(4, 2),
        )
    )


def teachers(*widths):
    return {str(i): SimpleNamespace(model=model(width)) for i, width in enumerate(widths)}


def test_entries_of_the_same_shape():
    given = teachers(8, 5)
    found = inheritable(('neck', 'head'), given, model(5))
    state = given['0'].model.state_dict()  # of the first one
    assert set(found) == {'neck', 'head'}
    assert set(found['head']) == {'head.weight', 'head.bias'}
    assert set(found['neck']) == {k for k in state if k.startswith('neck') and k != 'neck.0.weight'}
    assert all(torch.equal(v, state[k]) for part in found.values() for k, v in part.items())


def test_refusals():
    assert inheritable((), {}, model(5)) == {}
    with pytest.raises(ConfigError, match=r'^model\.distill\.inherit: there is no teacher'):
        inheritable(('neck',), {}, model(5))
    with pytest.raises(ConfigError, match=r"nothing of 'nek' can be copied.*nearest are: neck"):
        inheritable(('nek',), teachers(8), model(5))
    other = teachers(8)
    other['0'].model['head'] = nn.Linear(5, 3)
    with pytest.raises(ConfigError, match="nothing of 'head'"):
        inheritable(('head',), other, model(5))
