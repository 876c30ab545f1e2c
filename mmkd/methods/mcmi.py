"""MCMI: a teacher that says more of an image than its class."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.functional import class_sums, conditional_mutual_information
from mmkd.methods.base import Method, Tensors, gather
from mmkd.methods.classification import check_logits, class_labels
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, isolated_rng
from mmkd.view import View


@MODELS.register_module()
class MCMI(Method):
    """Fine-tune a teacher for its likelihood and its conditional mutual information together.

    ``L = CE(z, y) - λ CMI``, ``CMI = mean_i KL(p_i || q_{y_i})``, with ``p = softmax(z)`` and the
    centroids ``q_c``, the mean of p over the training images of class c. λ is the method's weight,
    the cross-entropy is the loss of the model's own head. The model that is trained is the
    teacher-to-be, and its checkpoint a plain one that any method can distil.

    The centroids are estimated before the first epoch, in one pass over the training data with its
    augmentation, in training mode and without a gradient; the statistics of the batch norms stay
    as they were. They are kept for resuming.

    Source: Ye et al., "Bayes Conditional Distribution Estimation for Knowledge Distillation Based
    on Conditional Mutual Information", ICLR 2024, and the authors' code.

    Args:
        student: Tap of logits (N, K) of the model that is trained, such as ``head.fc``.
        weight: λ, a number or a schedule. CMI has hardly a bound, so a large λ destroys the
            accuracy: watch it with
            :class:`~mmkd.engine.hooks.metric_watch_hook.MetricWatchHook`. Defaults to 0.15.
        refresh: ``'never'``, or ``'epoch'`` to estimate the centroids anew before every epoch.
            Defaults to ``'never'``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: ``refresh='epoch'`` and soft labels (of mmpretrain's own batch augmentations) are
    ours. The running average of centroids that stands unused in the authors' code is left out.
    """

    grows = True

    mixers = 'none'

    def __init__(
        self, student: Any, weight: Any = 0.15, refresh: str = 'never', **kwargs: Any
    ) -> None:
        super().__init__(student, weight=weight, **kwargs)
        self.refresh = refresh
        self.ready = False  # whether there are centroids
        if self.refresh not in ('never', 'epoch'):
            raise ConfigError('refresh', f"use 'never' or 'epoch', not {self.refresh!r}")

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
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
        reader = student.distiller.reader
        with isolated_rng():
            for batch in islice(batches, len(batches)):  # an infinite sampler has a length as well
                data = student.data_preprocessor(batch, True)
                _, found = reader.read(student, **data)
                tapped = gather(self.student_taps, found)
                assert isinstance(tapped, list)
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
        self.report()

    def report(self) -> None:
        """Log what the centroids look like."""
        seen = self.counts > 0
        own = self.centroids.diagonal()[seen]
        print_log(
            f'{self.key}: centroids of {int(seen.sum())} of {len(seen)} classes from '
            f'{float(self.counts.sum()):.0f} images, in which the class itself has a probability '
            f'of {float(own.mean()):.3f}',
            logger='current',
        )
        right = self.centroids.argmax(1) == torch.arange(len(seen), device=seen.device)
        if not right[seen].float().mean() > 0.5:
            print_log(
                f'{self.key}: most classes are not the likeliest in their own centroid; is this a '
                'trained model? Set load_from to its checkpoint',
                logger='current',
                level=logging.WARNING,
            )

    def forward(self, student: list[Tensor], teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``cmi``, the mutual information with a minus."""
        logits = student[0]
        labels = class_labels(view.data_samples, logits.shape[1], logits)
        self.ready = self.ready or bool(self.counts.any())  # one look at the device is enough
        if not self.ready:
            raise ConfigError(
                'default_hooks.distill',
                'MCMI needs the class centroids, which mmkd.DistillHook estimates before an epoch',
            )
        information = conditional_mutual_information(logits, self.centroids.to(logits), labels)
        return dict(cmi=-information)
