"""NKD: normalized knowledge distillation."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import masked_log_softmax
from mmkd.methods.base import Method
from mmkd.methods.classification import check_logit_pair, simulated_logits, target_classes
from mmkd.registry import MODELS
from mmkd.utils import non_negative, positive
from mmkd.view import View


def nkd_target_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
    """NKD's target term ``- mean t_y log s_y`` of logits (N, K) and classes (N,); softmax t, s."""
    column = target[:, None]
    teacher = teacher_logits.softmax(1).gather(1, column)  # (N, 1)
    return -(teacher * F.log_softmax(student_logits, dim=1).gather(1, column)).mean()


def nkd_non_target_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, tau: float = 1.0
) -> Tensor:
    """NKD's non-target term, a cross-entropy without the target class, scaled by τ².

    ``- τ² mean Σ_{k≠y} t̂_k log ŝ_k``; t̂ and ŝ are softmax over the K - 1 other logits / τ.

    Args:
        student_logits: Logits (N, K).
        teacher_logits: Logits (N, K), without gradient.
        target: Classes (N,), int64.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar, mean over images; the teacher's entropy where the student equals it, 0 for K = 2.
    """
    is_target = F.one_hot(target, student_logits.shape[1]).bool()
    log_student = masked_log_softmax(student_logits / tau, is_target)  # 0 at the target
    teacher = masked_log_softmax(teacher_logits / tau, is_target).exp()
    return -(teacher * log_student).sum(1).mean() * tau**2


@MODELS.register_module()
class NKD(Method):
    """Distill the target class and the others separately, the others normalized without the target.

    With ``t = softmax(z_t)``, ``s = softmax(z_s)``, and t̂, ŝ the softmax over the K - 1 classes
    other than the target y, at temperature τ:

    ``L = - mean t_y log s_y - γ τ² mean Σ_{k≠y} t̂_k log ŝ_k``

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.2, and the authors' code, yzd-v/cls_KD@1e5d48f, where the cross-entropy keeps weight
    1.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        teacher: The same of the teacher.
        tau: Temperature τ of the non-target term. Defaults to 1.0.
        gamma: Weight γ of the non-target term. Defaults to 1.5.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: where a mixer runs the teacher on the clean images, its distributions are mixed by
    area; in the authors' code the teacher sees the student's images. The target of a mixed image is
    the class with the largest share, as in the authors' code.
    """

    tasks = ('cls',)
    simulate = False

    def __init__(
        self, student: Any, teacher: Any, tau: float = 1.0, gamma: float = 1.5, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = positive(tau=tau)
        self.gamma = non_negative(gamma=gamma)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the taps."""
        check_logit_pair(self, student, teacher)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``target`` and ``non_target``, the latter with its weight γ."""
        logits = student[0]
        target = target_classes(view, logits)
        plain = simulated_logits(teacher[0], view)
        softened = simulated_logits(teacher[0], view, self.tau)
        return dict(
            target=nkd_target_loss(logits, plain, target),
            non_target=self.gamma * nkd_non_target_loss(logits, softened, target, self.tau),
        )
