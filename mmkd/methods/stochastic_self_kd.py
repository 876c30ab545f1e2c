"""Student-guided distillation from a stochastic teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import student_guided_target
from mmkd.methods.base import Method, Tensors
from mmkd.models.teacher import Teacher
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View

# Few images and a small probability may well drop nothing in one step.
PATIENCE = 10


@MODELS.register_module()
class StochasticSelfKD(Method):
    """Learn from the trained model itself, run several times with its dropout on.

    The teacher is an earlier training of the student's own architecture. S passes with dropout
    give S embeddings; the student's own embedding chooses among them:

    ``a_i = softmax_i(<f_s, f_i> / h)``, thresholded at the percentile ε of each image and
    normalised; ``L = mean (f_s - Σ_i a_i f_i)²``.

    Start the student from the teacher: ``inherit=('backbone', 'head')``; from random weights the
    method is worse than nothing. All other methods of the teacher see it with dropout too.

    Source: Aslam et al., "Learning from Stochastic Teacher Representations Using Student-Guided
    Knowledge Distillation", ECML-PKDD 2025, and the authors' code.

    Args:
        student: Tap of one embedding (N, C), the input of the classifier: ``dict(module='head.fc',
            source='input')``.
        teacher: The same of the teacher.
        passes: Number S of passes. Defaults to 10.
        scale: h, which divides the dot products. Defaults to 5.0.
        percentile: ε; with 10 passes the default keeps about one. Defaults to 90.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: drop-path counts as dropout. The target carries no gradient, which the sources
    leave open. Dropout draws from the global generator.
    """

    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        passes: int = 10,
        scale: float = 5.0,
        percentile: float = 90.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.passes = passes
        self.scale = scale
        self.percentile = percentile
        self._teacher: list[Teacher] = []
        self._silent = 0  # steps in which all passes were equal
        if type(self.passes) is not int or self.passes < 2:
            raise ConfigError('passes', f'is a whole number from 2 on, not {self.passes!r}')
        if not self.scale > 0:
            raise ConfigError('scale', f'is above 0, not {self.scale}')
        if not 0 <= self.percentile <= 100:
            raise ConfigError('percentile', f'is 0 to 100, not {self.percentile}')
        for side, taps in (('student', self.student_taps), ('teacher', self.teacher_taps)):
            if not isinstance(taps, tuple) or len(taps) != 1:
                raise ConfigError(side, 'is one tap of an embedding (N, C)')

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Check the embeddings; let the teacher's dropout act."""
        assert isinstance(student, list) and isinstance(teacher, list)
        self.check_pairs(student, teacher, ndim=2)
        shapes = [tuple(t.shape[1:]) for t in (*student, *teacher)]
        if len(student) != 1 or shapes[0] != shapes[-1]:
            raise ConfigError(
                'student', f'both sides have one embedding of equal size, not {shapes}'
            )
        assert isinstance(self.teacher_taps, tuple)
        teacher_handle: Teacher = teachers[self.teacher_taps[0].model]
        if not teacher_handle.dropouts():
            raise ConfigError(
                f'{teacher_handle.key}.config',
                'StochasticSelfKD needs a teacher with dropout: it has no Dropout or DropPath '
                'module with a probability above 0',
            )
        teacher_handle.dropout = True
        self._teacher = [teacher_handle]

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``guided``; the first pass of the teacher has been made already."""
        embeddings = [teacher[0]]
        assert isinstance(self.teacher_taps, tuple)
        for _ in range(self.passes - 1):
            read = self._teacher[0](view.teacher_inputs, view.teacher_samples)
            embeddings.append(read[self.teacher_taps[0]][0])
        stacked = torch.stack([view.simulate(e) for e in embeddings])  # (S, N, C)
        if self._silent < PATIENCE:
            self._listen(stacked)
        own = student[0]
        target = student_guided_target(own.detach(), stacked, self.scale, self.percentile)
        return dict(guided=(own - target).square().mean())

    def _listen(self, stacked: Tensor) -> None:
        """Notice a teacher whose passes are always equal; waits for the device until it is not."""
        if bool((stacked != stacked[:1]).any()):
            self._silent = PATIENCE
            return
        self._silent += 1
        if self._silent == PATIENCE:
            raise ConfigError(
                'teacher',
                f'in {PATIENCE} steps all passes with dropout on gave the same embedding: the '
                'dropout lies behind the tap',
            )
