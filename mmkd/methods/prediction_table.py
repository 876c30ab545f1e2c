"""What a student said of every training image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.utils import ConfigError, gather_rows

DTYPES = {'fp32': torch.float32, 'fp16': torch.float16}


class PredictionTable(nn.Module):
    """Predictions of S training images by their numbers: those of last epoch and those of this.

    ``previous`` is what the targets are made of; it changes when an epoch begins. ``current`` is
    written during the epoch and begins as a copy of ``previous``, so an image that an epoch leaves
    out keeps its older prediction. Both are buffers: a resumed run has them, even one that was
    killed in the middle of an epoch. All ranks hold the same table.

    Memory on each device: 2 · S · k numbers of ``dtype``, k = K or ``top_k`` (and as many int32
    class indices with ``top_k``). CIFAR-100 in fp16: 20 MB; ImageNet: 5.1 GB, with ``top_k=20``
    0.3 GB.

    Args:
        num_samples: Number of images S.
        num_classes: Number of classes K.
        top_k: Keep the largest probabilities only; the rest is spread evenly over the other
            classes when it is read. Defaults to None, all.
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
        self,
        num_samples: int,
        num_classes: int,
        top_k: int | None = None,
        dtype: str = 'fp16',
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.top_k = top_k if top_k is not None and top_k < num_classes else None
        width = self.top_k or num_classes
        self.register_buffer('labels', torch.full((num_samples,), -1, dtype=torch.int32))
        self.register_buffer('epoch', torch.tensor(-1))  # that `current` belongs to
        self.register_buffer('clashes', torch.tensor(0))
        for name in ('previous', 'current'):
            self.register_buffer(name, torch.zeros(num_samples, width, dtype=DTYPES[dtype]))
            if self.top_k:
                classes = torch.zeros(num_samples, width, dtype=torch.int32)
                self.register_buffer(f'{name}_classes', classes)
        self._epoch: int | None = None  # a copy of `epoch` that costs no wait for the device

    def begin(self, epoch: int) -> None:
        """Make what was said last the ``previous`` predictions, where a new epoch begins.

        Raises:
            ConfigError: The numbers of the images are ambiguous, or nothing has been recorded.
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
                f'{int(self.clashes)} times a sample_idx belonged to images of different classes; '
                "wrap nested data sets: dict(type='mmkd.IndexedDataset', dataset=…)",
            )
        if not bool((self.labels >= 0).any()):
            raise ConfigError(
                'model.distill.mixer.prob',
                'every batch of the epoch was mixed, and of mixed images nothing can be recorded; '
                'use a probability below 1',
            )

    def read(self, numbers: Tensor, fallback: Tensor) -> tuple[Tensor, Tensor]:
        """Return last epoch's predictions.

        Args:
            numbers: Numbers of the images (N,).
            fallback: Distributions (N, K) of images of which there is no prediction.

        Returns:
            Distributions (N, K), and whether there was a prediction (N,).
        """
        kept = self.previous[numbers].to(fallback)  # (N, k)
        total = kept.sum(1, keepdim=True)
        if self.top_k:
            left = (1 - total).clamp(min=0) / (self.num_classes - self.top_k)
            probs = left.expand(-1, self.num_classes).scatter(
                1, self.previous_classes[numbers].long(), kept
            )
        else:
            probs = kept
        known = total[:, 0] > 0
        # Rounded numbers do not quite sum to one.
        probs = probs / probs.sum(1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
        return torch.where(known[:, None], probs, fallback), known

    @torch.no_grad()
    def write(self, numbers: Tensor, probs: Tensor, labels: Tensor) -> None:
        """Record the predictions of this step, those of all ranks in all ranks' tables.

        Args:
            numbers: Numbers of the images (N,); N may be 0 and differ between the ranks.
            probs: Distributions (N, K).
            labels: Classes (N,), by which ambiguous numbers are noticed.
        """
        classes: Any = None
        if self.top_k:
            probs, classes = probs.topk(self.top_k, dim=1)
            classes = gather_rows(classes.to(self.current_classes))
        probs = gather_rows(probs.to(self.current.dtype))
        numbers, labels = gather_rows(torch.stack([numbers, labels], 1)).unbind(1)
        # Samplers pad epochs with images that they have drawn already. Of an image that is twice
        # in the batch the last prediction is written twice, so the result has no order.
        order = torch.arange(len(numbers), device=numbers.device)
        last = ((numbers[:, None] == numbers[None]) * order).amax(1) if len(numbers) else order
        known = self.labels[numbers]
        self.clashes += ((known >= 0) & (known != labels)).sum()
        self.labels[numbers] = labels[last].to(known)
        self.current[numbers] = probs[last]
        if self.top_k:
            self.current_classes[numbers] = classes[last]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load, and forget the copy of the epoch."""
        super()._load_from_state_dict(*args, **kwargs)
        self._epoch = None
