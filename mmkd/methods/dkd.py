"""DKD: decoupled knowledge distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import masked_log_softmax
from mmkd.methods.base import Method
from mmkd.methods.classification import check_logit_pair, simulated_logits, target_classes
from mmkd.registry import MODELS
from mmkd.utils import non_negative, positive
from mmkd.view import View


def dkd_terms(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The two parts of a KL divergence that DKD weights separately, each scaled by τ².

    ``TCKD = τ² KL(b_t || b_s)`` with ``b = (p_y, 1 - p_y)``, and ``NCKD = τ² KL(p̂_t || p̂_s)``,
    p̂ the softmax over the K - 1 other classes. KL itself is
    ``TCKD + mean (1 - p_t,y) NCKD_i`` over the images i.

    Args:
        student_logits: Logits (N, K).
        teacher_logits: Logits (N, K), without gradient.
        target: Classes (N,), int64.
        tau: Temperature. Defaults to 1.0.

    Returns:
        TCKD and NCKD, scalars, means over images; 0 where the student equals the teacher. NCKD is 0
        for K = 2.
    """
    is_target = F.one_hot(target, student_logits.shape[1]).bool()
    target_sides, other_sides = [], []
    for logits in (student_logits / tau, teacher_logits / tau):
        log_probs = F.log_softmax(logits, dim=1)
        own = log_probs.gather(1, target[:, None])[:, 0]
        lowest = torch.finfo(logits.dtype).min
        rest = log_probs.masked_fill(is_target, lowest).logsumexp(1)  # log (1 - p_y)
        target_sides.append(torch.stack([own, rest], 1))  # (N, 2)
        other_sides.append(masked_log_softmax(logits, is_target))  # (N, K), 0 at the target
    losses = [
        (teacher.exp() * (teacher - student)).sum(1).mean() * tau**2
        for student, teacher in (target_sides, other_sides)
    ]
    return losses[0], losses[1]


@MODELS.register_module()
class DKD(Method):
    """Weight the divergence of the target class and that among the other classes separately.

    ``L = α TCKD + β NCKD``: with softmax at temperature τ, TCKD is ``τ² KL(b_t || b_s)`` of
    ``b = (p_y, 1 - p_y)`` and NCKD is ``τ² KL(p̂_t || p̂_s)`` of the other classes among
    themselves. In plain KL the latter has the weight ``1 - p_t,y``, which vanishes for a confident
    teacher.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 6-7, and the authors'
    code, megvii-research/mdistiller@a08d46f.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        teacher: The same of the teacher.
        tau: Temperature τ. Defaults to 4.0.
        alpha: Weight α of TCKD. Defaults to 1.0.
        beta: Weight β of NCKD. Defaults to 8.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`. The published warm-up, ``min(e / 20, 1)``
            in epoch e of n iterations, is
            ``weight=dict(value=1.0, warmup_iters=20 * n, warmup_step=n)``.

    Deviations: a target is masked with the smallest finite number, where the authors subtract 1000
    from its logit, and TCKD is computed from log-probabilities: both are finite where the authors'
    code is not, and equal elsewhere. The target of a mixed image is the class with the largest
    share; where a mixer runs the teacher on the clean images, its distributions are mixed by area.
    """

    tasks = ('cls',)
    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tau: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = positive(tau=tau)
        self.alpha = non_negative(alpha=alpha)
        self.beta = non_negative(beta=beta)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the taps."""
        check_logit_pair(self, student, teacher)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``target`` and ``non_target``, with their weights α and β."""
        logits = student[0]
        target, non_target = dkd_terms(
            logits,
            simulated_logits(teacher[0], view, self.tau),
            target_classes(view, logits),
            self.tau,
        )
        return dict(target=self.alpha * target, non_target=self.beta * non_target)
