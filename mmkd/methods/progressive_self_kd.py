"""Progressive self-distillation: targets softened by last epoch's predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import (
    check_logits,
    class_labels,
    refuse_batch_augments,
    sample_indices,
)
from mmkd.methods.prediction_table import DTYPES, PredictionTable
from mmkd.methods.schedule import progressive
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class ProgressiveSelfKD(Method):
    """Soften the labels with what the student itself said of the same image last epoch.

    In epoch t of E, with ``α_t = α_T · t / E`` and P the softmax of the pass of epoch t - 1:

    ``L = CE(z, (1 - α_t) onehot(y) + α_t P)``

    The student's head computes ``CE(z, y)`` itself, so this method adds
    ``α_t (CE(z, P) - CE(z, y))``, which makes the sum the published loss. It may be negative, and
    is 0 in the first epoch.

    Not to be confused with PatchMix-simulation distillation, which is called PS-KD as well.

    Source: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV
    2021, eq. 4-6.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        num_samples: Number of training images.
        alpha: α_T, between 0 and 1. Defaults to 0.8.
        top_k: Keep only the largest probabilities of each image. Defaults to None, all.
        dtype: ``'fp16'`` or ``'fp32'`` for what is kept. Defaults to ``'fp16'``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: fp16 and ``top_k`` are ours; the authors keep fp32. So are mixed images: their
    targets are mixed by the shares of their sources, P included, and only batches that are not
    mixed are recorded. An image without a record keeps its label. With a head that smooths its
    labels the sum is not the published loss.
    """

    grows = True

    def __init__(
        self,
        student: Any,
        num_samples: int,
        alpha: float = 0.8,
        top_k: int | None = None,
        dtype: str = 'fp16',
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.num_samples = num_samples
        self.alpha = alpha
        self.top_k = top_k
        self.dtype = dtype
        if not 0 < self.alpha <= 1:
            raise ConfigError('alpha', f'is above 0 and at most 1, not {self.alpha}')
        if self.dtype not in DTYPES:
            raise ConfigError('dtype', f'use one of {", ".join(DTYPES)}')
        for name in ('num_samples', 'top_k'):
            value = getattr(self, name)
            if name == 'top_k' and value is None:
                continue
            if type(value) is not int or value < 1:
                raise ConfigError(name, f'is a whole number from 1 on, not {value!r}')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the table."""
        classes = check_logits(student)
        self.table = PredictionTable(self.num_samples, classes, self.top_k, self.dtype)
        refuse_batch_augments(model, type(self).__name__)

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``progressive``; record the predictions."""
        logits = student[0]
        own = class_labels(view.data_samples, logits.shape[1], logits, soft=False)  # (N, K)
        numbers = sample_indices(view.data_samples)
        if max(numbers) >= self.num_samples:
            raise ConfigError(
                'num_samples',
                f'is {self.num_samples}, and there is an image of number {max(numbers)}',
            )
        rows = torch.tensor(numbers, device=logits.device)
        epoch, alpha = progressive(self.alpha, type(self).__name__)
        self.table.begin(epoch)
        past, known = self.table.read(rows, own)
        self.monitored = dict(
            alpha=torch.tensor(alpha, device=logits.device), recorded=known.float().mean()
        )
        targets, labels = view.mixture(past), view.mixture(own)
        loss = alpha * soft_cross_entropy(logits, targets - labels)
        # Every rank takes part, also the one whose batch is mixed.
        end = 0 if view.parts else len(rows)
        self.table.write(rows[:end], logits[:end].detach().softmax(1), own[:end].argmax(1))
        return dict(progressive=loss)
