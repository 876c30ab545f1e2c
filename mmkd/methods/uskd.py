"""USKD: universal self-knowledge distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.functional import (
    masked_log_softmax,
    soft_cross_entropy,
    soft_target_labels,
    zipf_labels,
)
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_logits, class_labels
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class USKD(Method):
    """Soft labels for the target and the non-target classes, without a teacher.

    With ``s = softmax(z)``, the weak head ``w = softmax(W · GAP(F))`` and the label V:

    - target: ``L_t = - mean Σ_y p_y log s_y``, ``p_y = s_y² + V_y - mean(s_y²)``;
    - non-target: the classes are ordered by w and s together; the one at rank j gets 1/j. These,
      normalised without the targets, are ẑ: ``L_n = - mean Σ_{k≠y} ẑ_k log ŝ_k``, ŝ the softmax
      over the non-target classes;
    - weak head: ``L_w = - mean Σ_k l_k log w_k``, ``l = 0.9 V + 0.1 / K``.

    ``L = CE + α L_t + β L_n + μ L_w``; p and ẑ carry no gradient. A label of a mixed image has two
    targets, its two largest entries.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.3, and the authors' code.

    Args:
        student: ``dict(logits=…, feature=…)``: taps of the logits (N, K) and of a map
            (N, C, H, W) of the second-last stage (tokens with ``tokens=True``).
        alpha: Weight α of the target term. Defaults to 1.0.
        beta: Weight β of the non-target term. Defaults to 0.1.
        mu: Weight μ of the weak head's own loss. Defaults to 0.005.
        rank_from: What of the student is added to w for the ranks: ``'log_prob'`` as in the
            authors' code, or ``'prob'`` as the paper reads. Defaults to ``'log_prob'``.
        sync_mean: Take the mean in p_y over all ranks instead of each rank's own batch. Defaults
            to False.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the authors' code takes two classes of every soft label, the second an arbitrary one
    where an image was mixed with its own class. Here such an image has one target, and a class
    without a label is no target. The default for ImageNet is published; on CIFAR-100 α, β and μ
    are all 0.1.
    """

    def __init__(
        self,
        student: Any,
        alpha: float = 1.0,
        beta: float = 0.1,
        mu: float = 0.005,
        rank_from: str = 'log_prob',
        sync_mean: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.alpha = alpha
        self.beta = beta
        self.mu = mu
        self.rank_from = rank_from
        self.sync_mean = sync_mean
        if not isinstance(self.student_taps, dict) or set(self.student_taps) != {
            'logits',
            'feature',
        }:
            raise ConfigError('student', 'is dict(logits=…, feature=…)')
        if self.rank_from not in ('log_prob', 'prob'):
            raise ConfigError('rank_from', "use 'log_prob' or 'prob'")
        for name in ('alpha', 'beta', 'mu'):
            if getattr(self, name) < 0:
                raise ConfigError(name, 'a weight is not negative')
        if self.mu == 0:
            raise ConfigError('mu', 'the weak head learns by it, so it is above 0')

    def build(self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Any) -> None:
        """Create the weak head."""
        assert isinstance(student, dict)
        classes = check_logits(student['logits'], 'student.logits')
        maps = student['feature']
        if len(maps) != 1 or maps[0].ndim != 4:
            shapes = [tuple(t.shape) for t in maps]
            raise ConfigError(
                'student.feature',
                f'is a tap of one map (N, C, H, W), not {shapes}; for token sequences use '
                'dict(module=…, tokens=True)',
            )
        self.head = nn.Linear(maps[0].shape[1], classes)

    def forward(
        self, student: dict[str, list[Tensor]], teacher: Any, view: View
    ) -> dict[str, Tensor]:
        """Return ``target``, ``non_target`` and ``weak``, with their weights α, β and μ."""
        (logits,), (feature,) = student['logits'], student['feature']
        classes = logits.shape[1]
        labels = class_labels(view.data_samples, classes, logits)  # (N, K)
        values, targets = labels.topk(2, dim=1)  # (N, 2)
        is_target = torch.zeros_like(labels, dtype=torch.bool)
        is_target.scatter_(1, targets, values > 0)
        log_probs = F.log_softmax(logits, dim=1)

        target_log_probs = log_probs.gather(1, targets)  # (N, 2)
        with torch.no_grad():
            target_probs = target_log_probs.exp()
            mean = self.mean_of(target_probs.square(), values > 0)
            soft_targets = soft_target_labels(target_probs, values, mean)
        target_loss = -(soft_targets * target_log_probs).sum(1).mean()

        weak_logits = self.head(feature.mean((2, 3)))
        weak_loss = soft_cross_entropy(weak_logits, 0.9 * labels + 0.1 / classes)

        with torch.no_grad():
            weak = weak_logits.softmax(1)
            own = log_probs if self.rank_from == 'log_prob' else log_probs.exp()
            rank = shared(weak, is_target) + shared(own, is_target)
            others = zipf_labels(rank, is_target)
        other_loss = -(others * masked_log_softmax(logits, is_target)).sum(1).mean()
        return dict(
            target=self.alpha * target_loss,
            non_target=self.beta * other_loss,
            weak=self.mu * weak_loss,
        )

    def mean_of(self, squares: Tensor, known: Tensor) -> Tensor:
        """Return the mean (2,) of every column of (N, 2) over the images that have the target."""
        sums = torch.stack([(squares * known).sum(0), known.sum(0).to(squares)])  # (2, 2)
        if self.sync_mean:
            all_reduce(sums)
        return sums[0] / sums[1].clamp(min=1)


def shared(values: Tensor, is_target: Tensor) -> Tensor:
    """Divide the values (N, K) by what the targets leave over."""
    left = 1 - (values * is_target).sum(1, keepdim=True)
    return values / (left + 1e-6)
