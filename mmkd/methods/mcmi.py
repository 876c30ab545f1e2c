"""MCMI: fine-tuning of a teacher for conditional mutual information."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.methods.base import Method, all_taps, gather
from mmkd.methods.classification import check_logits, class_labels
from mmkd.registry import MODELS
from mmkd.taps import TapReader
from mmkd.utils import ConfigError, isolated_rng, log_warning, one_of, probability
from mmkd.view import View


def class_sums(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the outputs of a batch by class.

    The sums of batches and ranks add up; the centroid of class c is ``sums[c] / counts[c]``.

    Args:
        probs: Distributions (N, K).
        labels: Label distributions (N, K); an image counts for a class by its share.

    Returns:
        Sums (K, K), a row for each class, and counts (K,).
    """
    return labels.T @ probs, labels.sum(0)


def conditional_mutual_information(
    logits: Tensor, centroids: Tensor, labels: Tensor, eps: float = 0.0
) -> Tensor:
    """Empirical I(X; Ŷ | Y), the divergence of the outputs of a class from their centroid.

    ``CMI = 1/N Σ_i Σ_c y_ic KL(p_i || q_c)``, which for hard labels is the mean of
    ``KL(p_i || q_{y_i})``.

    Args:
        logits: Logits (N, K), with gradient; at temperature 1.
        centroids: Mean distributions (K, K), a row for each class, without gradient. A row of zeros
            is a missing centroid, and the images of its class do not count.
        labels: Label distributions (N, K).
        eps: Least probability of a centroid. Defaults to 0.

    Returns:
        Scalar in nats; 0 where every output is its centroid, and at most ``-log(eps)``.

    Deviations: soft labels are ours; the sum over classes is the same information of a label that
    is drawn from them. A probability of 0 counts as the smallest normal number of the type, 1e-38
    in fp32; the authors' code gives infinity there.
    """
    log_probs = F.log_softmax(logits, dim=1)
    labels = labels * centroids.any(1)
    # Σ_c y_ic (log p_ik - log q_ck), with the sum over classes first.
    least = max(eps, torch.finfo(centroids.dtype).tiny)
    distances = labels.sum(1, keepdim=True) * log_probs - labels @ centroids.clamp(min=least).log()
    return (log_probs.exp() * distances).sum(1).mean()


@MODELS.register_module()
class MCMI(Method):
    """Fine-tune a teacher for likelihood and conditional mutual information together.

    ``L = CE(z, y) - λ CMI``, ``CMI = mean_i KL(p_i || q_{y_i})``, with ``p = softmax(z)`` and the
    centroids ``q_c``, the mean of p over the training images of class c. λ is the method's weight,
    the cross-entropy is the loss of the model's own head. The model that is trained is the
    teacher-to-be, and its checkpoint a plain one that any method can distill.

    The centroids are estimated before the first epoch, in one pass over the training data with its
    augmentation, in training mode and without a gradient; the statistics of BatchNorm do not
    change. A resumed run has the centroids.

    Source: Ye et al., "Bayes Conditional Distribution Estimation for Knowledge Distillation Based
    on Conditional Mutual Information", ICLR 2024, and the authors' code,
    iclr2024mcmi/ICLRMCMI@d12f354.

    Args:
        student: Tap of logits (N, K) of the model that is trained, such as ``head.fc``.
        weight: λ, a number or a schedule. CMI is hardly bounded, so a large λ destroys the
            accuracy: monitor it with
            :class:`~mmkd.engine.hooks.metric_watch_hook.MetricWatchHook`. Defaults to 0.15.
        refresh: ``'never'``, or ``'epoch'`` to estimate the centroids anew before every epoch.
            Defaults to ``'never'``.
        eps: Least probability of a centroid, which bounds CMI by ``-log(eps)``. Defaults to 0, no
            bound, as in the authors' code.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: ``refresh='epoch'``, ``eps`` and soft labels (of mmpretrain's own batch
    augmentations) are ours. The authors' pass over the data updates the statistics of BatchNorm.
    The images of a class without a centroid do not count, and a probability of 0 in a centroid
    counts as 1e-38; the authors' code gives NaN and infinity there. The running average of
    centroids, unused in the authors' code, is left out.
    """

    tasks = ('cls',)
    mixers = 'none'

    def __init__(
        self,
        student: Any,
        weight: Any = 0.15,
        refresh: str = 'never',
        eps: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, weight=weight, **kwargs)
        self.refresh = one_of(('never', 'epoch'), refresh=refresh)
        self.eps = probability(eps=eps)
        self._ready = False  # whether there are centroids

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the table of centroids."""
        classes = check_logits(student)
        self.register_buffer('centroids', torch.zeros(classes, classes))
        self.register_buffer('counts', torch.zeros(classes))  # images of each class

    @torch.no_grad()
    def before_epoch(self, student: nn.Module, batches: Any) -> None:
        """Estimate the centroids, unless they are known and stay as they are."""
        known = bool(self.counts.any())
        if self.schedule.value == 0 or (known and self.refresh == 'never'):
            return
        sums = torch.zeros_like(self.centroids, dtype=torch.double)
        counts = torch.zeros_like(self.counts, dtype=torch.double)
        buffers = [(buffer, buffer.clone()) for buffer in student.buffers()]
        training = student.training
        student.train()
        reader = TapReader(student, dict(all_taps(self.student_taps, 'student')))
        with isolated_rng():
            for batch in islice(batches, len(batches)):  # infinite samplers have a length, too
                data = student.data_preprocessor(batch, True)
                _, found = reader.read(student, **data)
                tapped: Any = gather(self.student_taps, found)
                probs = tapped[0].double().softmax(1)
                labels = class_labels(data['data_samples'], probs.shape[1], probs)
                for total, part in zip((sums, counts), class_sums(probs, labels)):
                    total += part
        student.train(training)
        for buffer, value in buffers:
            buffer.copy_(value)
        all_reduce(sums)
        all_reduce(counts)
        self.counts.copy_(counts)
        self.centroids.copy_(sums / counts.clamp(min=1e-12)[:, None])
        self._report()

    def _report(self) -> None:
        """Log a summary of the centroids."""
        seen = self.counts > 0
        own = self.centroids.diagonal()[seen]
        print_log(
            f'{self.key}: centroids of {int(seen.sum())} of {len(seen)} classes from '
            f'{float(self.counts.sum()):.0f} images, with a mean probability of the class '
            f'itself of {float(own.mean()):.3f}',
            logger='current',
        )
        right = self.centroids.argmax(1) == torch.arange(len(seen), device=seen.device)
        if not right[seen].float().mean() > 0.5:
            log_warning(
                f'{self.key}: most classes are not the likeliest of their own centroid, so the '
                'model seems untrained; set load_from to a checkpoint'
            )

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``cmi``, the mutual information with a minus."""
        logits = student[0]
        labels = class_labels(view.data_samples, logits.shape[1], logits)
        self._ready = self._ready or bool(self.counts.any())  # waits for the device once
        if not self._ready:
            raise ConfigError(
                'default_hooks.distill',
                'MCMI needs class centroids, which mmkd.DistillHook estimates before an epoch; add '
                'the hook',
            )
        information = conditional_mutual_information(
            logits, self.centroids.to(logits), labels, self.eps
        )
        return dict(cmi=-information)
