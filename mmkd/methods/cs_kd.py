"""CS-KD: class-wise self-distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import kl_divergence
from mmkd.methods.base import Method
from mmkd.methods.classification import (
    check_batch,
    check_logits,
    class_labels,
    refuse_batch_augments,
)
from mmkd.registry import MODELS
from mmkd.utils import positive
from mmkd.view import View


@MODELS.register_module()
class CSKD(Method):
    """Pull the distributions of two images of a class together.

    Every batch holds n images and, in the same order, n others of the same classes;

    ``L = CE + λ τ² KL(softmax(z_partner / τ) || softmax(z / τ))``, the partner without gradient.

    Use it with ``batch_sampler=dict(type='mmkd.SameClassPairBatchSampler')`` in the data loader.

    Source: Yun et al., "Regularizing Class-wise Predictions via Self-knowledge Distillation", CVPR
    2020, eq. 1-2; λ is the weight. Code: alinlab/cs-kd@b447f25.

    Args:
        student: Tap of logits (2n, K), such as ``head.fc``.
        tau: Temperature τ. Defaults to 4.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the authors compute the cross-entropy of the first half only, and run the partners
    without gradient, in a forward pass of their own. Here the student's own head sees the whole
    batch, so the partners are trained on too and count in its statistics. Their sampler may draw
    the image itself as the partner; here a partner is another image.
    """

    tasks = ('cls',)
    mixers = 'none'

    def __init__(self, student: Any, tau: float = 4.0, **kwargs: Any) -> None:
        super().__init__(student, **kwargs)
        self.tau = positive(tau=tau)
        self._checked = False  # whether the first batch held pairs

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the tap."""
        check_logits(student)
        refuse_batch_augments(model, type(self).__name__)

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``class_wise``; the first batch is checked for pairs."""
        logits = student[0]
        half = len(logits) // 2
        if not self._checked:  # once, because it waits for the device
            labels = class_labels(view.data_samples, logits.shape[1], logits)
            check_batch(
                len(logits) % 2 == 0 and torch.equal(labels[:half], labels[half:]),
                'the second half of a batch must hold images of the same classes in the same '
                'order as the first',
                'SameClassPairBatchSampler',
            )
            self._checked = True
        partner = (logits[half:].detach() / self.tau).softmax(1)
        return dict(class_wise=kl_divergence(logits[:half], partner, self.tau))
