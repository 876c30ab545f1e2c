"""Progressive self-distillation: targets softened by last epoch's predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import soft_cross_entropy
from mmkd.methods.base import Method
from mmkd.methods.classification import (
    check_logits,
    class_labels,
    refuse_batch_augments,
    sample_indices,
)
from mmkd.methods.schedule import progressive
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, fraction, gather_rows, integer, one_of
from mmkd.view import View

DTYPES = {'fp32': torch.float32, 'fp16': torch.float16}


class PredictionTable(nn.Module):
    """Predictions of S training images of the previous epoch and of the current one.

    The targets come from ``previous``, which changes when an epoch begins. ``current`` is written
    during the epoch and begins as a copy of ``previous``, so an image that an epoch leaves out
    keeps its older prediction. Both are buffers: a resumed run has them, even one that was killed
    in the middle of an epoch. All ranks hold the same table.

    Memory on each device: 2 · S · k numbers of ``dtype``, k = K or ``top_k`` (and as many int32
    class indices with ``top_k``). CIFAR-100 in fp16: 20 MB; ImageNet: 5.1 GB, with ``top_k=20``
    0.3 GB.

    Args:
        num_samples: Number of images S.
        num_classes: Number of classes K.
        top_k: Keep only the largest probabilities; reading spreads the rest evenly over the other
            classes. Defaults to None, all.
        dtype: ``'fp32'`` or ``'fp16'``. Defaults to ``'fp16'``.
    """

    labels: Tensor
    epoch: Tensor
    clashes: Tensor
    previous: Tensor
    current: Tensor
    previous_classes: Tensor
    current_classes: Tensor

    def __init__(
        self, num_samples: int, num_classes: int, top_k: int | None = None, dtype: str = 'fp16'
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.top_k = top_k if top_k is not None and top_k < num_classes else None
        width = self.top_k or num_classes
        self.register_buffer('labels', torch.full((num_samples,), -1, dtype=torch.int32))
        self.register_buffer('epoch', torch.tensor(-1))  # of `current`
        self.register_buffer('clashes', torch.tensor(0))
        for name in ('previous', 'current'):
            self.register_buffer(name, torch.zeros(num_samples, width, dtype=DTYPES[dtype]))
            if self.top_k:
                classes = torch.zeros(num_samples, width, dtype=torch.int32)
                self.register_buffer(f'{name}_classes', classes)
        self._epoch: int | None = None  # host copy of `epoch`, avoids a device sync

    def begin(self, epoch: int) -> None:
        """Copy ``current`` to ``previous`` where a new epoch begins.

        Raises:
            ConfigError: The indices of the images are ambiguous, or nothing has been recorded.
        """
        if self._epoch is None:
            self._epoch = int(self.epoch)
        if epoch == self._epoch:
            return
        if self._epoch >= 0:
            self._check()
        self.previous.copy_(self.current)
        if self.top_k:
            self.previous_classes.copy_(self.current_classes)
        self._epoch = epoch
        self.epoch.fill_(epoch)

    def _check(self) -> None:
        if int(self.clashes):
            raise ConfigError(
                'train_dataloader.dataset',
                f'images of different classes had the same sample_idx {int(self.clashes)} times; '
                "wrap nested data sets: dict(type='mmkd.IndexedDataset', dataset=…)",
            )
        if not bool((self.labels >= 0).any()):
            raise ConfigError(
                'model.distill.mixer.prob',
                'every batch of the epoch was mixed, and predictions of mixed images are not '
                'recorded; use a probability below 1',
            )

    def read(self, indices: Tensor, fallback: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predictions of the previous epoch.

        Args:
            indices: Indices of the images (N,).
            fallback: Distributions (N, K) for images without a prediction.

        Returns:
            Distributions (N, K), and whether there was a prediction (N,).
        """
        kept = self.previous[indices].to(fallback)  # (N, k)
        total = kept.sum(1, keepdim=True)
        probs = kept
        if self.top_k:
            classes = self.previous_classes[indices].long()
            left = (1 - total).clamp(min=0) / (self.num_classes - self.top_k)
            probs = left.expand(-1, self.num_classes).scatter(1, classes, kept)
        known = total[:, 0] > 0
        # Rounded probabilities do not quite sum to one.
        probs = probs / probs.sum(1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
        return torch.where(known[:, None], probs, fallback), known

    @torch.no_grad()
    def write(self, indices: Tensor, probs: Tensor, labels: Tensor) -> None:
        """Record the predictions of this step, those of all ranks in every rank's table.

        Args:
            indices: Indices of the images (N,); N may be 0 and differ between the ranks.
            probs: Distributions (N, K).
            labels: Classes (N,), which reveal ambiguous indices.
        """
        classes: Any = None
        if self.top_k:
            probs, classes = probs.topk(self.top_k, dim=1)
            classes = gather_rows(classes.to(self.current_classes))
        probs = gather_rows(probs.to(self.current.dtype))
        indices, labels = gather_rows(torch.stack([indices, labels], 1)).unbind(1)
        # Samplers pad epochs with repeated images. If an image is in the batch twice, its last
        # prediction is written twice, so the result does not depend on the order of writing.
        order = torch.arange(len(indices), device=indices.device)
        last = ((indices[:, None] == indices[None]) * order).amax(1) if len(indices) else order
        known = self.labels[indices]
        self.clashes += ((known >= 0) & (known != labels)).sum()
        self.labels[indices] = labels[last].to(known)
        self.current[indices] = probs[last]
        if self.top_k:
            self.current_classes[indices] = classes[last]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load, and reset the host copy of the epoch."""
        super()._load_from_state_dict(*args, **kwargs)
        self._epoch = None


@MODELS.register_module()
class ProgressiveSelfKD(Method):
    """Soften the labels with the student's own predictions of the previous epoch.

    In epoch t of E, with ``α_t = α_T · t / E`` and P the softmax of the same image in epoch t - 1:

    ``L = CE(z, (1 - α_t) onehot(y) + α_t P)``

    The student's head computes ``CE(z, y)`` itself, so this method adds
    ``α_t (CE(z, P) - CE(z, y))``, which makes the sum the published loss. It may be negative, and
    is 0 in the first epoch.

    Not to be confused with PatchMix-simulation distillation, which is called PS-KD as well.

    Source: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV
    2021, eq. 4-6. Code: lgcnsai/PS-KD-Pytorch@9aa0828.

    Args:
        student: Tap of logits (N, K), such as ``head.fc``.
        num_samples: Number of training images.
        alpha: α_T, in (0, 1]. Defaults to 0.8.
        top_k: Keep only the largest probabilities of each image. Defaults to None, all.
        dtype: ``'fp16'`` or ``'fp32'``, of the recorded predictions. Defaults to ``'fp16'``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: fp16 and ``top_k`` are ours; the authors use fp32. Mixed images are ours as well:
    their targets are mixed by the shares of their sources, P included, and only batches that are
    not mixed are recorded. An image without a record keeps its label. With a head that smooths its
    labels the sum is not the published loss.
    """

    tasks = ('cls',)

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
        if self.schedule.every > 1:
            raise ConfigError(
                'weight.every', 'must be 1: predictions are recorded in every iteration'
            )
        self.num_samples = integer(1, num_samples=num_samples)
        self.alpha = fraction(alpha=alpha)
        self.top_k = integer(1, optional=True, top_k=top_k)
        self.dtype = one_of(tuple(DTYPES), dtype=dtype)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the table."""
        classes = check_logits(student)
        self.table = PredictionTable(self.num_samples, classes, self.top_k, self.dtype)
        refuse_batch_augments(model, type(self).__name__)

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``progressive``; record the predictions."""
        logits = student[0]
        own = class_labels(view.data_samples, logits.shape[1], logits, soft=False)  # (N, K)
        indices = sample_indices(view.data_samples)
        integer(max(indices) + 1, num_samples=self.num_samples)
        rows = torch.tensor(indices, device=logits.device)
        epoch, alpha = progressive(self.alpha, type(self).__name__)
        self.table.begin(epoch)
        past, known = self.table.read(rows, own)
        self.monitored = dict(alpha=logits.new_tensor(alpha), recorded=known.float().mean())
        loss = alpha * soft_cross_entropy(logits, view.mixture(past) - view.mixture(own))
        # Every rank takes part, even if its batch is mixed.
        end = 0 if view.parts else len(rows)
        self.table.write(rows[:end], logits[:end].detach().softmax(1), own[:end].argmax(1))
        return dict(progressive=loss)
