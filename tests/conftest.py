"""Fixtures for all tests, and this folder on the path for their helpers."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from threading import RLock

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.utils import manager
from support.runs import make_data

import mmkd  # noqa: F401 (registers everything)


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Sums in a fixed order, and several test processes beside each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def fast_runners():
    """Leave out what would be most of the time of a short run."""
    gc.collect()
    gc.freeze()  # mmengine collects garbage for every data set, among all that was imported
    with pytest.MonkeyPatch.context() as patch:
        # It starts compilers to read their versions.
        patch.setattr(Runner, '_log_env', lambda *_: None)
        # Every file of a run has its config, as valid Python without the layout of yapf.
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(autouse=True)
def same_seed():
    """Draws depend on the seed of the process, and no test on those before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def fresh_progress():
    """Runs publish their iteration and scope globally, by names that are equal within a second."""
    yield
    MessageHub._instance_dict.clear()
    DefaultScope._instance_dict.clear()
    # mmengine keeps it when an instance cannot be built; runs in other threads would wait forever.
    manager._lock = RLock()


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """A tiny set of generated sample data for all three tasks."""
    return make_data(tmp_path_factory.mktemp('data') / 'shapes')
