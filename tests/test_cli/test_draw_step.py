"""The picture of one training step is drawn by a script."""

from __future__ import annotations

import runpy

import torch
from support.helpers import ROOT


def test_draw_step(tmp_path):
    module = runpy.run_path(str(ROOT / 'tools/dev/draw_step.py'))
    step = module['run_step']()
    assert not torch.equal(step['mixed'], step['clean'])
    assert step['simulated'].shape == step['student'].shape == step['teacher'].shape
    module['draw'](step).savefig(tmp_path / 'step.png')
