"""Student-guided distillation from a stochastic teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.methods.base import Method
from mmkd.methods.classification import check_channels, check_tap
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, between, integer, positive
from mmkd.view import View

# Steps without any difference between the passes after which the taps are refused: with few
# images and a small probability, a single step may well drop nothing.
PATIENCE = 10


def student_guided_target(
    student: Tensor, teachers: Tensor, scale: float, percentile: float
) -> Tensor:
    """Average of the teacher's embeddings that are most similar to the student's.

    ``f = Σ_i a_i f_i`` with ``a_i = softmax_i(<f_s, f_i> / h)``; those below the percentile of each
    image are dropped, and the rest is normalized again.

    Args:
        student: Embeddings (N, C).
        teachers: Embeddings (S, N, C) of S stochastic passes.
        scale: h, which divides the dot products.
        percentile: Percentile, 0 to 100, below which an attention is dropped.

    Returns:
        Embeddings (N, C).
    """
    attention = ((student[None] * teachers).sum(2) / scale).softmax(0)  # (S, N)
    threshold = attention.detach().quantile(percentile / 100, dim=0, keepdim=True)
    kept = torch.where(attention >= threshold, attention, 0.0)
    kept = kept / kept.sum(0, keepdim=True)
    return (kept[..., None] * teachers).sum(0)


@MODELS.register_module()
class StochasticSelfKD(Method):
    """Distill several passes of an earlier training of the same model, with its dropout on.

    The teacher is an earlier training of the student's own architecture. S passes with dropout
    yield S embeddings, which are weighted by their similarity to the student's:

    ``a_i = softmax_i(<f_s, f_i> / h)``, thresholded at the percentile ε of each image and
    normalized; ``L = mean (f_s - Σ_i a_i f_i)²``.

    The gradient passes through the attention: it draws the student to embeddings that it weighs
    higher, too. All other methods of the same teacher get its dropout.

    Source: Aslam et al., "Learning from Stochastic Teacher Representations Using Student-Guided
    Knowledge Distillation", ECML-PKDD 2025. Code: haseebaslam95/SSD@6a1b51f.

    Args:
        student: Tap of one embedding (N, C), the input of the classifier: ``dict(module='head.fc',
            source='input')``.
        teacher: The same of the teacher.
        passes: Number S of passes, each of the whole teacher. Defaults to 30.
        scale: h, which divides the dot products. Defaults to 5.0.
        percentile: ε; with 30 passes the default keeps three. Defaults to 90.0.
        detach_attention: Whether the attention gets no gradient. Where one pass is kept, it has
            none anyway. Defaults to False.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: drop-path counts as dropout; the authors switch on the dropout of the last, fusing
    part of their network alone. They weigh the student's cross-entropy and this loss by 0.5 each;
    here both have weight 1, so the sum is twice theirs, which Adam does not notice. Dropout draws
    from the global random generator.
    """

    tasks = ('cls',)
    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        passes: int = 30,
        scale: float = 5.0,
        percentile: float = 90.0,
        detach_attention: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.passes = integer(2, passes=passes)
        self.scale = positive(scale=scale)
        self.percentile = between(0, 100, percentile=percentile)
        self.detach_attention = detach_attention
        # A teacher is no part of this module: a plain list keeps it unregistered.
        self._teacher: list[Any] = []
        self._equal_steps = 0  # successive steps in which all passes were equal

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the embeddings; switch the teacher's dropout on."""
        what = "one embedding (N, C), such as dict(module='head.fc', source='input')"
        for side, tensors in dict(student=student, teacher=teacher).items():
            check_tap(tensors, side, what, 2)
        check_channels(student, teacher, 'channels')
        assert isinstance(self.teacher_taps, tuple)
        self._tap = self.teacher_taps[0]
        handle = teachers[self._tap.model]
        if not handle.dropouts():
            raise ConfigError(
                f'{handle.key}.config',
                'StochasticSelfKD needs a teacher with dropout, and this one has no Dropout or '
                'DropPath module with a probability above 0',
            )
        handle.dropout = True
        self._teacher = [handle]

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``guided``; the distiller has made the teacher's first pass."""
        embeddings = [teacher[0]]
        for _ in range(self.passes - 1):
            found = self._teacher[0](view.teacher_inputs, view.teacher_samples)
            embeddings.append(found[self._tap][0])
        stacked = torch.stack([view.simulate(e) for e in embeddings])  # (S, N, C)
        if self._equal_steps < PATIENCE:
            self._check_passes(stacked)
        own = student[0]
        guide = own.detach() if self.detach_attention else own
        target = student_guided_target(guide, stacked, self.scale, self.percentile)
        return dict(guided=(own - target).square().mean())

    def _check_passes(self, stacked: Tensor) -> None:
        """Raise a ConfigError if all passes are always equal; syncs until they differ."""
        if bool((stacked != stacked[:1]).any()):
            self._equal_steps = PATIENCE
            return
        self._equal_steps += 1
        if self._equal_steps == PATIENCE:
            raise ConfigError(
                'teacher',
                f'all passes with dropout gave the same embedding in {PATIENCE} steps: the dropout '
                'lies behind the tap; tap a later module',
            )
