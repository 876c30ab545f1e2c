"""Teacher-free distillation with a designed teacher (Tf-KD_reg)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method
from mmkd.methods.classification import check_logits, class_labels
from mmkd.registry import MODELS
from mmkd.utils import fraction, positive
from mmkd.view import View


def designed_distribution(labels: Tensor, correct_prob: float, tau: float) -> Tensor:
    """The virtual teacher, ``softmax(d / τ)``.

    d has ``correct_prob`` at the right class and is uniform over the rest.

    Args:
        labels: Label distributions (N, K), K ≥ 2; for those of mixed images d is mixed as well.
        correct_prob: Probability of the right class.
        tau: Temperature. As in the authors' code it divides probabilities, not logits.

    Returns:
        Distributions (N, K).
    """
    rest = (1 - correct_prob) / (labels.shape[1] - 1)
    return ((labels * correct_prob + (1 - labels) * rest) / tau).softmax(1)


@MODELS.register_module()
class TeacherFreeKD(Method):
    """Distill a virtual teacher that is always right: a softened, designed distribution.

    ``u = softmax(d / τ)``, ``d_y = a``, ``d_k = (1 - a) / (K - 1)`` for ``k ≠ y``, and

    ``L = (1 - α) CE(z, y) + α m/K KL(u || softmax(z))``

    The student's head computes ``CE(z, y)`` itself, so this method adds ``α (m/K KL - CE)``, which
    makes the sum the published loss. It may be negative.

    Source: Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization",
    CVPR 2020, section 5, and the authors' code,
    yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3: there the temperature divides
    probabilities, not logits, the student has none, and KL is a mean over images and classes times
    a multiplier m.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        alpha: Share α of the virtual teacher. Defaults to 0.1.
        tau: Temperature τ. Defaults to 20.0.
        correct_prob: Probability a of the right class. Defaults to 0.99.
        multiplier: m, published 100 for ResNet-18 and 1 for MobileNetV2 and ShuffleNetV2 on
            CIFAR-100. Defaults to None, K: KL is a mean over images.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: m defaults to the number of classes, which for ResNet-18 on CIFAR-100 is the
    published value. For mixed images d is mixed like the labels.
    """

    tasks = ('cls',)

    def __init__(
        self,
        student: Any,
        alpha: float = 0.1,
        tau: float = 20.0,
        correct_prob: float = 0.99,
        multiplier: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.alpha = fraction(alpha=alpha)
        self.tau = positive(tau=tau)
        self.correct_prob = fraction(correct_prob=correct_prob)
        self.multiplier = multiplier if multiplier is None else positive(multiplier=multiplier)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the tap."""
        check_logits(student)

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``tf``, α (m/K KL - CE)."""
        logits = student[0]
        classes = logits.shape[1]
        labels = class_labels(view.data_samples, classes, logits)
        target = designed_distribution(labels, self.correct_prob, self.tau)
        entropy = -torch.special.xlogy(target, target).sum(1).mean()
        divergence = soft_cross_entropy(logits, target) - entropy
        share = 1.0 if self.multiplier is None else self.multiplier / classes
        return dict(tf=self.alpha * (share * divergence - soft_cross_entropy(logits, labels)))
