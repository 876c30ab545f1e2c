"""NKD: normalised knowledge distillation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import nkd_non_target_loss, nkd_target_loss
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_logit_pair, simulated_logits, target_classes
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class NKD(Method):
    """Distil the target class and the others apart, the others normalised without the target.

    With ``t = softmax(z_t)``, ``s = softmax(z_s)``, and t̂, ŝ the softmax over the K - 1 classes
    other than the target y, at temperature τ:

    ``L = - mean t_y log s_y - γ τ² mean Σ_{k≠y} t̂_k log ŝ_k``

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.2, and the authors' code, where the cross-entropy keeps weight 1.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        teacher: The same of the teacher.
        tau: Temperature τ of the non-target term. Defaults to 1.0.
        gamma: Weight γ of the non-target term. Defaults to 1.5.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: where a mixer shows the teacher the clean images, its distributions are mixed by
    area; the authors show it what the student sees. The target of a mixed image is the class with
    the largest share, as in the authors' code.
    """

    simulate = False

    def __init__(
        self, student: Any, teacher: Any, tau: float = 1.0, gamma: float = 1.5, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau
        self.gamma = gamma
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        if self.gamma < 0:
            raise ConfigError('gamma', 'a weight is not negative')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Check the taps."""
        check_logit_pair(self, student, teacher)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``target`` and ``non_target``, the latter with its weight γ."""
        logits = student[0]
        target = target_classes(view, logits)
        plain = simulated_logits(teacher[0], view)
        softened = simulated_logits(teacher[0], view, self.tau)
        return dict(
            target=nkd_target_loss(logits, plain, target),
            non_target=self.gamma * nkd_non_target_loss(logits, softened, target, self.tau),
        )
