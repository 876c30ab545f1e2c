"""DKD: decoupled knowledge distillation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import dkd_terms
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_logit_pair, simulated_logits, target_classes
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class DKD(Method):
    """Weigh what a teacher says of the target class apart from what it says of the others.

    ``L = α TCKD + β NCKD``: with softmax at temperature τ, TCKD is ``τ² KL(b_t || b_s)`` of
    ``b = (p_y, 1 - p_y)`` and NCKD is ``τ² KL(p̂_t || p̂_s)`` of the other classes among
    themselves. In plain KL the latter has the weight ``1 - p_t,y``: a confident teacher says
    nothing.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, eq. 7.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        teacher: The same of the teacher.
        tau: Temperature τ. Defaults to 4.0.
        alpha: Weight α of TCKD. Defaults to 1.0.
        beta: Weight β of NCKD. Defaults to 8.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`. The published warm-up, ``min(e / 20, 1)``
            in epoch e, is ``warmup_iters``: 20 times the iterations of an epoch.

    Deviations: the warm-up rises with every iteration instead of every epoch and reaches the
    published weight at the end of each. The target of a mixed image is the class with the largest
    share; where a mixer shows the teacher the clean images, its distributions are mixed by area.
    """

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
        self.tau = tau
        self.alpha = alpha
        self.beta = beta
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        for name in ('alpha', 'beta'):
            if getattr(self, name) < 0:
                raise ConfigError(name, 'a weight is not negative')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Check the taps."""
        check_logit_pair(self, student, teacher)

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``target`` and ``non_target``, with their weights α and β."""
        logits = student[0]
        target, non_target = dkd_terms(
            logits,
            simulated_logits(teacher[0], view, self.tau),
            target_classes(view, logits),
            self.tau,
        )
        return dict(target=self.alpha * target, non_target=self.beta * non_target)
