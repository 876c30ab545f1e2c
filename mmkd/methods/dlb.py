"""DLB: self-distillation from the last mini-batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmkd.functional import kl_divergence
from mmkd.methods.base import Method
from mmkd.methods.classification import (
    check_batch,
    check_logits,
    refuse_batch_augments,
    sample_indices,
)
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, positive
from mmkd.view import View


@MODELS.register_module()
class DLB(Method):
    """Match the logits of the same images in the previous iteration.

    Every batch holds n new images and the n images of the batch before, augmented anew; with z'
    the logits of the earlier iteration,

    ``L = CE(all 2n) + α τ² KL(softmax(z' / τ) || softmax(z / τ))``, KL over the second half.

    Use it with ``train_dataloader.batch_sampler=dict(type='mmkd.PreviousBatchSampler')``. Images
    are identified by their index, so a loader that does not repeat the batch is an error in the
    second iteration.

    Source: Shen et al., "Self-Distillation from the Last Mini-Batch for Consistency
    Regularization", CVPR 2022, eq. 2-4; α is the weight. Code: Meta-knowledge-Lab/DLB@8949a46.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        tau: Temperature τ. Defaults to 3.0.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the authors' loader returns two views of each image; here the sampler repeats the
    batch, which gives the same batches. The authors run the two halves in two forward passes; here
    they share one pass, and so the statistics of BatchNorm: in 18 steps of a small network losses
    differ by up to 4 %, running statistics by up to 12 %, and not at all without normalization
    layers. τ is quoted from memory of the paper, not checked. Each rank keeps its own earlier
    logits, and they are not in the checkpoint: the first iteration of a run, resumed or not, has
    cross-entropy only. If it resumes in the middle of an epoch, half of the images of that
    iteration are repeated ones.
    """

    tasks = ('cls',)
    mixers = 'none'

    def __init__(self, student: Any, tau: float = 3.0, **kwargs: Any) -> None:
        super().__init__(student, **kwargs)
        self.tau = positive(tau=tau)
        if self.schedule.every > 1:
            raise ConfigError('weight.every', 'must be 1: DLB compares successive iterations')
        self._indices: list[int] = []  # of the images whose logits are kept
        self._logits: Tensor | None = None  # (n, K)
        self._first = False  # whether they are those of the run's first iteration

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the tap."""
        check_logits(student)
        refuse_batch_augments(model, type(self).__name__)

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``consistency``; 0 in the first iteration."""
        logits = student[0]
        indices = sample_indices(view.data_samples)
        first = self._logits is None
        if self._logits is None:
            new, loss = len(indices), logits.sum() * 0.0
        else:
            old = len(self._logits)
            if self._first and len(indices) == old:  # a run resumed in the middle of an epoch
                old //= 2
                self._indices, self._logits = self._indices[:old], self._logits[:old]
            new = len(indices) - old
            rule = 'the second half of a batch must be the images of the previous batch'
            check_batch(new > 0 and indices[new:] == self._indices, rule, 'PreviousBatchSampler')
            before = (self._logits / self.tau).softmax(1)
            loss = kl_divergence(logits[new:], before, self.tau)
        self._indices, self._logits = indices[:new], logits[:new].detach()
        self._first = first
        return dict(consistency=loss)
