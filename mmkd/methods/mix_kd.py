"""MIX-KD: logits of unit deviation instead of a temperature."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import kl_divergence
from mmkd.methods.base import Method
from mmkd.methods.classification import check_logit_pair, class_labels
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, non_negative
from mmkd.view import View


def unit_std(logits: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide the logits of every image by their own standard deviation over classes.

    The deviation is unbiased, and gradients flow through it. For K = 2 the result is always ±1/√2
    about its mean, so it has no gradient.

    Args:
        logits: Logits (N, K).
        eps: Smallest deviation that is divided by. Defaults to 1e-6.

    Returns:
        Logits (N, K).
    """
    return logits / logits.std(1, keepdim=True).clamp(min=eps)


@MODELS.register_module()
class MixKD(Method):
    """Distill mixed images with logits of unit deviation, for the class loss as well.

    With ``ẑ = z / std(z)``, the deviation of every image's logits over classes, and ℓ the loss of
    the student's head:

    ``L = γ ℓ(ẑ_s, ỹ) + α KL(softmax(ẑ_t) || softmax(ẑ_s))``

    The head computes ``ℓ(z_s, ỹ)`` itself, so this method adds ``γ ℓ(ẑ_s, ỹ) - ℓ(z_s, ỹ)``, which
    makes the sum the published loss; it may be negative. Use it with
    ``mixer=dict(type='mmkd.MixUp', partial=0.9)``. There is no temperature: MixUp smooths already.

    Source: Choi et al., "Understanding the Role of Mixup in Knowledge Distillation: An Empirical
    Study", WACV 2023, and the authors' code, hchoi71/MIX-KD@6e8c149.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        teacher: The same of the teacher.
        alpha: Weight α of the divergence. Defaults to 0.9.
        gamma: Weight γ of the class loss. Defaults to 0.1.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the loss is that of the student's head, so label smoothing or class weights of its
    config stay. Logits are divided by at least 1e-6, where the authors' code divides by any
    deviation and gives NaN for equal logits. Where a mixer runs the teacher
    on the clean images, the distributions of its rescaled logits are mixed by area.
    """

    tasks = ('cls',)
    simulate = False

    def __init__(
        self, student: Any, teacher: Any, alpha: float = 0.9, gamma: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.alpha = non_negative(alpha=alpha)
        self.gamma = non_negative(gamma=gamma)
        # A part of the student, not of this module: a plain list keeps it unregistered.
        self._loss: list[Any] = []

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the taps, and keep the loss of the student's head."""
        # Two logits of unit deviation always differ by √2 and have no gradient.
        check_logit_pair(self, student, teacher, least=3)
        loss = getattr(getattr(model, 'head', None), 'loss_module', None)
        if not callable(loss):
            raise ConfigError(
                'type',
                "MixKD rescales the logits of the class loss and needs the student's "
                "head.loss_module, which mmpretrain's classification heads have",
            )
        self._loss = [loss]

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``class``, γ ℓ(ẑ) - ℓ(z), and ``kd`` with its weight α."""
        logits = student[0]
        rescaled = unit_std(logits)
        labels = class_labels(view.data_samples, logits.shape[1], logits)
        if 'gt_score' not in view.data_samples[0]:  # class indices, as the head takes them
            labels = labels.argmax(1)
        loss = self._loss[0]
        class_loss = self.gamma * loss(rescaled, labels, avg_factor=len(logits))
        self.monitored = dict(class_term=class_loss)
        target = view.simulate(unit_std(teacher[0]).softmax(1))
        return {
            'class': class_loss - loss(logits, labels, avg_factor=len(logits)),
            'kd': self.alpha * kl_divergence(rescaled, target),
        }
