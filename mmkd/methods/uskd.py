"""USKD: universal self-knowledge distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.functional import masked_log_softmax, soft_cross_entropy
from mmkd.methods.base import Method
from mmkd.methods.classification import check_logits, check_names, check_tap, class_labels
from mmkd.registry import MODELS
from mmkd.utils import non_negative, one_of, positive
from mmkd.view import View


def soft_target_labels(target_probs: Tensor, values: Tensor, mean: Tensor) -> Tensor:
    """USKD's soft labels of the target classes, ``p_y = s_y² + V_y - mean(s_y²)``.

    Args:
        target_probs: The student's probabilities (N, 2) of the targets.
        values: Values (N, 2) of the labels, 0 for no target.
        mean: Means (2,) of ``target_probs²`` over the images.

    Returns:
        Soft labels (N, 2), 0 for no target.
    """
    return torch.where(values > 0, target_probs.square() + values - mean, 0.0)


def zipf_labels(rank: Tensor, is_target: Tensor) -> Tensor:
    """USKD's soft labels of the non-target classes: 1/j at rank j, normalized without the targets.

    Args:
        rank: Scores (N, K) by which all classes are ordered, the targets included, the largest
            first.
        is_target: Target classes (N, K), bool.

    Returns:
        Distributions (N, K), 0 at the targets; all 0 where every class is one.
    """
    position = rank.argsort(dim=1, descending=True).argsort(dim=1)  # 0 for the largest
    zipf = torch.where(is_target, 0.0, 1.0 / (position + 1).to(rank))
    return zipf / zipf.sum(1, keepdim=True).clamp(min=torch.finfo(rank.dtype).tiny)


def divide_by_rest(values: Tensor, is_target: Tensor) -> Tensor:
    """Divide the values (N, K) by one minus the sum of those of the targets."""
    return values / (1 - (values * is_target).sum(1, keepdim=True) + 1e-6)


@MODELS.register_module()
class USKD(Method):
    """Soft labels for the target and the non-target classes, without a teacher.

    With ``s = softmax(z)``, the weak head ``w = softmax(W · GAP(F))``, or W on the class token of
    a middle block, and the label V:

    - target: ``L_t = - mean Σ_y p_y log s_y``, ``p_y = s_y² + V_y - mean(s_y²)``;
    - non-target: the classes are ordered by w and s together; the one at rank j gets 1/j. These,
      normalized without the targets, are ẑ: ``L_n = - mean Σ_{k≠y} ẑ_k log ŝ_k``, ŝ the softmax
      over the non-target classes;
    - weak head: ``L_w = - mean Σ_k l_k log w_k``, ``l = 0.9 V + 0.1 / K``.

    ``L = CE + α L_t + β L_n + μ L_w``; p and ẑ carry no gradient. The images of a mixed batch have
    two targets, the largest entries of their labels. If an image was mixed with its own class, the
    second one is any other class, as ``torch.sort`` orders equal entries. It has no soft label, but
    is no non-target class.

    Source: Yang et al., "From Knowledge Distillation to Self-Knowledge Distillation", ICCV 2023,
    section 3.3, and the authors' code, yzd-v/cls_KD@1e5d48f.

    Args:
        student: ``dict(logits=…, feature=…)``: taps of the logits (N, K) and of maps (N, C, H, W)
            of the second-last stage, or of the tokens (N, L, C) of a transformer's middle block,
            of which the weak head reads the first, the class token.
        alpha: Weight α of the target term. Defaults to 1.0.
        beta: Weight β of the non-target term. Defaults to 0.1.
        mu: Weight μ of the weak head's own loss, by which alone that head learns. Defaults to
            0.005.
        rank_from: The student's part of the ranks, added to w: ``'log_prob'`` as in the authors'
            code, or ``'prob'`` as the paper reads. Defaults to ``'log_prob'``.
        sync_mean: Take the mean in p_y over all ranks instead of each rank's own batch. Defaults
            to False.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: ``rank_from='prob'`` and ``sync_mean`` are ours. With two classes a mixed label
    leaves no non-target class, and L_n is 0. The defaults are published for ImageNet; on CIFAR-100
    α, β and μ are all 0.1.
    """

    tasks = ('cls',)

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
        self.alpha = non_negative(alpha=alpha)
        self.beta = non_negative(beta=beta)
        self.mu = positive(mu=mu)
        self.rank_from = one_of(('log_prob', 'prob'), rank_from=rank_from)
        self.sync_mean = sync_mean
        check_names(self.student_taps, 'student', 'logits', 'feature')

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the weak head."""
        classes = check_logits(student['logits'], 'student.logits')
        what = 'one map (N, C, H, W) or tokens (N, L, C) with a class token'
        feature = check_tap(student['feature'], 'student.feature', what, 3, 4)
        self.head = nn.Linear(feature.shape[1 if feature.ndim == 4 else 2], classes)

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``target``, ``non_target`` and ``weak``, with their weights α, β and μ."""
        (logits,), (feature,) = student['logits'], student['feature']
        classes = logits.shape[1]
        labels = class_labels(view.data_samples, classes, logits)  # (N, K)
        values, targets = (x[:, :2] for x in labels.sort(dim=1, descending=True))
        mixed = 'gt_score' in view.data_samples[0]
        known = torch.ones_like(targets, dtype=torch.bool) if mixed else values > 0  # (N, 2)
        is_target = torch.zeros_like(labels, dtype=torch.bool).scatter_(1, targets, known)
        log_probs = F.log_softmax(logits, dim=1)

        target_log_probs = log_probs.gather(1, targets)  # (N, 2)
        with torch.no_grad():
            target_probs = target_log_probs.exp()
            mean = self._mean(target_probs.square())
            soft_targets = soft_target_labels(target_probs, values, mean)
        target_loss = -(soft_targets * target_log_probs).sum(1).mean()

        weak_logits = self.head(feature.mean((2, 3)) if feature.ndim == 4 else feature[:, 0])
        weak_loss = soft_cross_entropy(weak_logits, 0.9 * labels + 0.1 / classes)

        with torch.no_grad():
            weak = weak_logits.softmax(1)
            own = log_probs if self.rank_from == 'log_prob' else log_probs.exp()
            rank = divide_by_rest(weak, is_target) + divide_by_rest(own, is_target)
            others = zipf_labels(rank, is_target)
        other_loss = -(others * masked_log_softmax(logits, is_target)).sum(1).mean()
        return dict(
            target=self.alpha * target_loss,
            non_target=self.beta * other_loss,
            weak=self.mu * weak_loss,
        )

    def _mean(self, squares: Tensor) -> Tensor:
        """Return the mean (2,) of every column of (N, 2)."""
        sums = torch.stack([squares.sum(0), torch.ones_like(squares).sum(0)])  # (2, 2)
        if self.sync_mean:
            all_reduce(sums)
        return sums[0] / sums[1]
