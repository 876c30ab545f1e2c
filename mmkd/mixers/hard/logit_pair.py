"""Logits of student and teacher on the same images, with gradients to the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import resize_to
from mmkd.probe import probe_batch, run_probe
from mmkd.taps import Tap, TapConfig, TapReader
from mmkd.utils import ConfigError


class LogitPair:
    """Runs both models on images, with gradients to the images.

    Unlike in a training step the teacher is differentiable with respect to its input (its
    parameters stay frozen), and the student is in eval mode, so that no statistics move.

    Args:
        student: Tap of the student's logits, (N, K) or (N, K, H, W).
        teacher: The same of the teacher.

    Raises:
        ConfigError: A tap is none, or several.
    """

    def __init__(self, student: TapConfig, teacher: TapConfig) -> None:
        self.taps = {}
        for side, config in (('student', student), ('teacher', teacher)):
            taps = Tap.parse(config, None, side)
            if len(taps) != 1:
                raise ConfigError(side, f'must be one tap of logits, got {len(taps)}')
            self.taps[side] = taps[0]
        self.readers: dict[str, TapReader] = {}
        self.teacher: Any = None

    def build(self, student: nn.Module, teachers: Mapping[str, Any], size: tuple[int, int]) -> None:
        """Resolve the taps and check the logits on a small batch. Called once, before training.

        Args:
            student: The student.
            teachers: The teachers by name (``''`` for a single one).
            size: Height and width of the small batch.

        Raises:
            ConfigError: The teacher is missing, a tap cannot be resolved or yields several
                tensors, or the logits do not correspond.
        """
        own, other = self.taps['student'], self.taps['teacher']
        if other.model not in teachers:
            raise ConfigError(
                'teacher',
                'augmentation is learned against a teacher, and no teacher has this name; set '
                'model.distill.teacher',
            )
        self.teacher = teachers[other.model]
        self.readers = {
            'student': TapReader(student, {own: 'student'}),
            'teacher': TapReader(self.teacher.model, {other: 'teacher'}),
        }
        inputs, samples = probe_batch(student, size)
        found = dict(student=run_probe(student, self.readers['student'], inputs, samples)[own])
        with torch.no_grad():
            found['teacher'] = self._run_teacher(inputs, samples)
        for side, tensors in found.items():
            shapes = [tuple(t.shape) for t in tensors]
            if len(tensors) != 1 or tensors[0].ndim not in (2, 4) or len(tensors[0]) != 2:
                raise ConfigError(
                    side,
                    f'yields {shapes} for two images; it has to be one tensor of class logits of '
                    'images (N, K) or pixels (N, K, H, W). The dense heads of detectors are '
                    'not supported: use another mixer there',
                )
        s, t = found['student'][0], found['teacher'][0]
        if s.ndim != t.ndim or s.shape[1] != t.shape[1]:
            raise ConfigError(
                'student',
                f"the student's logits {tuple(s.shape)} and the teacher's {tuple(t.shape)} are "
                'not of the same classes',
            )

    def __call__(
        self, student: nn.Module, inputs: Tensor, data_samples: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of student and teacher, fp32, the student's in the teacher's size.

        Args:
            student: The student.
            inputs: Batch (N, C, H, W) as the student's data preprocessor made it, with gradient.
            data_samples: N data samples; their labels are not used.
        """
        (other,) = self._run_teacher(inputs, data_samples)
        with evaluating(student), torch.autocast(inputs.device.type, enabled=False):
            _, found = self.readers['student'].read(student, inputs, data_samples, stop=True)
        (own,) = found[self.taps['student']]
        if own.ndim == 4:
            own = resize_to(own, tuple(other.shape[-2:]))
        return own.float(), other.float()

    def _run_teacher(self, inputs: Tensor, data_samples: Any) -> list[Tensor]:
        """Run the teacher to its logits, with gradients wherever they are enabled."""
        teacher = self.teacher
        assert teacher is not None, 'build() comes first'
        teacher.model.eval()
        if teacher.renormalize is not None:
            inputs = teacher.renormalize(inputs, data_samples)
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.to(teacher.dtype)
            _, found = self.readers['teacher'].read(teacher.model, inputs, data_samples, stop=True)
        return found[self.taps['teacher']]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put all modules of a model into eval mode inside the ``with`` block, then back.

    Module by module: what a configuration froze stays frozen, and what a module holds but does
    not own is not reached.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
