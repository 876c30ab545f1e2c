"""OFA-KD: distillation between networks of different kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmkd.functional import adaptive_target_loss
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_logits, class_labels
from mmkd.models.branches import ConvBranch, TokenBranch
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class OFA(Method):
    """Let every stage of the student say what a teacher of another kind says at its end.

    Features of convolutional networks, transformers and MLPs are not comparable; their logits are.
    Each stage of the student gets an exit branch with a classifier, and the branches and the
    student's own logits all learn the teacher's logits:

    ``L = L_ofa(z_s, z_t; ε) + Σ_l L_ofa(branch_l(F_s,l), z_t; ε_l)`` with
    :func:`~mmkd.functional.adaptive_target_loss`. For mixed images y is the largest entry of the
    label.

    The branch of stage l of S is, for maps, S - l separable convolutions of stride 2 (for the last
    stage a 1×1 convolution), a mean and a linear layer; for tokens a merging of patches to a 7×7
    grid, max(S - l, 1) transformer blocks of 4 heads, and a linear layer on the class token or the
    mean. Branches are no part of the student.

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
    Knowledge Distillation", NeurIPS 2023, and the authors' code.

    Args:
        student: ``dict(logits=…, stages=…)``: taps of the logits (N, K), such as ``head.fc``, and
            of the stages from the first to the last: maps (N, C, H, W), or tokens (N, L, C) with
            their class token. With fewer stages it is the first ones that are left out.
        teacher: Tap of the logits (N, K).
        eps: ε of the student's own logits, at least 1. Defaults to 1.0.
        stage_eps: ε of every branch, one number or one for each. Defaults to None, ``eps``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: a separable convolution is one depthwise and one pointwise convolution, each with
    BatchNorm and ReLU. The width of convolutional branches is the larger one of the last stage's
    and of the input of the teacher's classifier, where that is a linear layer. The teacher's
    probabilities of mixed images are those of the clean ones, weighted by area.
    """

    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        eps: float = 1.0,
        stage_eps: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.eps = eps
        self.stage_eps = stage_eps
        taps = self.student_taps
        if not isinstance(taps, dict) or set(taps) != {'logits', 'stages'} or not taps['stages']:
            raise ConfigError('student', 'is dict(logits=…, stages=[…])')
        if not isinstance(self.teacher_taps, tuple) or len(self.teacher_taps) != 1:
            raise ConfigError('teacher', 'is one tap of the logits, such as head.fc')
        if not self.eps >= 1:
            raise ConfigError('eps', f'is at least 1, not {self.eps}')

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Create the branches."""
        assert isinstance(student, dict) and isinstance(teacher, list)
        classes = check_logits(student['logits'])
        if [tuple(t.shape[1:]) for t in teacher] != [(classes,)]:
            raise ConfigError(
                'teacher',
                f'yields {[tuple(t.shape) for t in teacher]} and the student logits of {classes} '
                'classes; tap the logits of a teacher of the same classes',
            )
        stages = student['stages']
        self.lengths = [x.shape[1] for x in stages]  # of token sequences, at build time
        #: ε of every branch.
        self.branch_eps = self._branch_eps(len(stages))
        assert isinstance(self.teacher_taps, tuple)
        tap = self.teacher_taps[0]
        classifier = teachers[tap.model].model.get_submodule(tap.module)
        width = dimension(stages[-1])
        conv_width = max(width, getattr(classifier, 'in_features', 0))
        self.branches = nn.ModuleList()
        for index, x in enumerate(stages):
            follow = len(stages) - 1 - index
            if x.ndim == 4:
                branch: nn.Module = ConvBranch(x.shape[1], conv_width, follow, classes)
            elif x.ndim == 3:
                try:
                    length, channels = x.shape[1:]
                    branch = TokenBranch(length, channels, width, max(follow, 1), classes)
                except ValueError as error:
                    raise ConfigError('student.stages', str(error)) from error
            else:
                raise ConfigError(
                    'student.stages',
                    f'stage {index} yields {tuple(x.shape)}, neither a map (N, C, H, W) nor tokens '
                    '(N, L, C)',
                )
            self.branches.append(branch)

    def _branch_eps(self, count: int) -> list[float]:
        """Return ε of every branch."""
        given = self.eps if self.stage_eps is None else self.stage_eps
        values = list(given) if isinstance(given, Sequence) else [given] * count
        if len(values) != count or not all(value >= 1 for value in values):
            raise ConfigError(
                'stage_eps',
                f'is a number or one for each of the {count} stages, each at least 1, not {given}',
            )
        return values

    def forward(
        self, student: dict[str, list[Tensor]], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``logits`` and ``stage1`` to ``stageS``.

        Raises:
            ConfigError: The images have no labels, or tokens another grid than at build time.
        """
        (logits,) = student['logits']
        probs = view.simulate(teacher[0].softmax(1))
        labels = class_labels(view.data_samples, logits.shape[1], logits).argmax(1)
        losses = dict(logits=adaptive_target_loss(logits, probs, labels, self.eps))
        for index, (branch, x) in enumerate(zip(self.branches, student['stages'])):
            if x.ndim == 3 and x.shape[1] != self.lengths[index]:
                raise ConfigError(
                    'model.distill.probe_size',
                    f'the branches were built for {self.lengths[index]} tokens, got {x.shape[1]}; '
                    'set it to the height and width of the training images, here '
                    f'{tuple(view.inputs.shape[-2:])}',
                )
            exit_logits = branch(x)
            losses[f'stage{index + 1}'] = adaptive_target_loss(
                exit_logits, probs, labels, self.branch_eps[index]
            )
        return losses


def dimension(x: Tensor) -> int:
    """Return the channels of a map (N, C, H, W) or of tokens (N, L, C)."""
    return x.shape[1] if x.ndim == 4 else x.shape[-1]
