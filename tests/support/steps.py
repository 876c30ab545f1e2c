"""One whole training step of a tiny distilled model under autocast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.tiny_models import make_student, preprocessed, teacher_config
from torch import nn


def autocast_step(task: str, method: dict[str, Any], dtype: torch.dtype, folder: Path) -> nn.Module:
    """Step a tiny model with one method, check losses and gradients, and return the model."""
    model = make_student(task, teacher=teacher_config(task, folder), methods=dict(m=method))
    inputs, samples = preprocessed(model, task)
    with torch.autocast('cpu', dtype=dtype):
        losses = model(inputs, samples, mode='loss')
    kd = {k: v for k, v in losses.items() if k.startswith('distill.m.loss_')}
    assert kd
    for value in kd.values():
        assert value.dtype == torch.float32 and value.isfinite() and value > 0
    sum(kd.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients)
    trained = [p for p in model.distiller.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert any(p.grad is not None and p.grad.any() for p in model.backbone.parameters())
    teacher = model.distiller.teachers[''].model
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    return model
