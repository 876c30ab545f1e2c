"""The student's passes of one step: what the task loss sees, and what the taps hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from mmkd.taps import Tap, TapReader
from mmkd.view import View

Loss = Callable[[Tensor, Any], dict[str, Any]]


def run_student(
    student: nn.Module, loss: Loss, reader: TapReader, view: View, clean: View, task_on: str
) -> tuple[dict[str, Any], dict[Tap, list[Tensor]]]:
    """Run the student once on the view, and before that on the clean batch where the loss needs it.

    Args:
        student: The student.
        loss: Its own loss function.
        reader: Its taps; they are open only on the view's batch.
        view: The view of the step.
        clean: The plain view of the clean batch.
        task_on: See :class:`~mmkd.mixers.base.Mixer`.

    Returns:
        The losses by name, and the tapped tensors of the view's batch.
    """
    losses = None
    if task_on != 'mixed' and mixed_on_any_rank(view):
        losses = loss(clean.inputs, clean.data_samples)
    on_view, features = reader.read(student, view.inputs, view.data_samples, run=loss)
    if losses is None:
        return on_view, features
    return (losses if task_on == 'clean' else mean_of(losses, on_view)), features


def mixed_on_any_rank(view: View) -> bool:
    """Whether the batch of any process is mixed in this step.

    Every process has its own draw. SyncBN and the normalizers of detection heads communicate in
    each pass, so that all processes need the same number of passes.
    """
    mixed = len(view.parts) > 1
    if get_world_size() == 1:
        return mixed
    flag = torch.tensor(float(mixed), device=view.inputs.device)
    all_reduce(flag, 'max')
    return bool(flag)


def mean_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means of equally named losses, each a tensor or a list of tensors."""
    return {
        name: [(a + b) / 2 for a, b in zip(value, other[name])]
        if isinstance(value, (list, tuple))
        else (value + other[name]) / 2
        for name, value in one.items()
    }
