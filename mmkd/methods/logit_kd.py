"""Logit distillation for images, pixels and dense heads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmkd.functional import class_rows, kl_divergence, resize_to
from mmkd.methods.base import Method
from mmkd.methods.classification import (
    check_channels,
    check_class_channels,
    refuse_queries,
    refuse_regions,
)
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, ensure, integer, one_of, positive
from mmkd.view import View


def dense_binary_kl(student_logits: Tensor, teacher_logits: Tensor, tau: float = 1.0) -> Tensor:
    """Binary KL of a dense head with one sigmoid per class.

    ``L = τ² Σ_p w_p Σ_k KL(t_pk || s_pk) / Σ_p w_p`` with ``w_p = max_k σ(teacher)_pk``: almost
    every location is background, so locations count by the teacher's confidence.

    Source: Hinton et al., 2015, with the location weights of CrossKD (Wang et al., CVPR 2024).

    Args:
        student_logits: Logits (P, K) of P locations.
        teacher_logits: Logits (P, K), without gradient.
        tau: Temperature. Defaults to 1.0.

    Returns:
        Scalar; 0 where the student equals the teacher.

    Deviations: a softmax over classes is meaningless for sigmoid heads, and zero for one class.
    """
    scaled_student, scaled_teacher = student_logits / tau, teacher_logits / tau
    target = scaled_teacher.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(scaled_student, target, reduction='none')
    entropy = F.binary_cross_entropy_with_logits(scaled_teacher, target, reduction='none')
    weight = teacher_logits.sigmoid().amax(1)  # (P,)
    divergence = ((cross_entropy - entropy).sum(1) * weight).sum()
    return divergence / weight.sum().clamp(min=1e-6) * tau**2


@MODELS.register_module()
class LogitKD(Method):
    """Pull the student's class distributions towards the teacher's.

    ``L = τ² KL(softmax(z_t / τ) || softmax(z_s / τ))``, mean over images (N, K) or over the pixels
    of a segmenter's map (N, K, H, W); with ``activation='softmax'`` and ``num_classes`` over the
    anchors of a dense head (N, A·K, H, W), with ``'sigmoid'`` the binary form of
    :func:`dense_binary_kl`.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        student: Tap of logits, such as ``head.fc``, ``decode_head.conv_seg`` or
            ``bbox_head.retina_cls``.
        teacher: The same of the teacher; with ``logit_sim='pooled'`` its last feature map.
        tau: Temperature. Defaults to 1.0.
        activation: ``'softmax'``, or ``'sigmoid'`` for heads with one sigmoid per class. Defaults
            to ``'softmax'``.
        num_classes: Classes K of a dense head, whose maps hold A·K channels. Defaults to None: all
            channels are classes.
        logit_sim: The teacher's distribution of a mixed image, for image logits. ``'mixture'``:
            those of the clean images, weighted by area. ``'pooled'``: that of its own neck and head
            on the simulated feature map, to which a patch without evidence adds nothing; for
            mmpretrain's classifiers. Maps are always gathered location by location. Defaults to
            ``'mixture'``.
        entropy: Add the teacher's entropy, a constant: the value is then a cross-entropy, with the
            same gradient. Not for sigmoid heads. Defaults to False.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the loss is that of ``megvii-research/mdistiller@a08d46f``; the head's own keeps its
    weight. KD in ``yzd-v/cls_KD@1e5d48f`` is a cross-entropy (``entropy=True``). On maps the
    student is resized to the teacher, and pixels with the ignore label count.
    ``winycg/CIRKD@dab64db`` has the same pixel term. With a batch of N images, that of
    ``irfanICMLL/structure_knowledge_distillation@ce208e1`` is N times as large, with
    ``entropy=True``; that of ``YukangWang/IFVD@950a7a5`` is 1/K of it: ``weight`` expresses both.
    At a location with several sources (MixUp, patches smaller than a stride) the logits of a dense
    head are averaged, not its probabilities.
    """

    simulate = False

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tau: float = 1.0,
        activation: str = 'softmax',
        num_classes: int | None = None,
        logit_sim: str = 'mixture',
        entropy: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = positive(tau=tau)
        self.activation = one_of(('softmax', 'sigmoid'), activation=activation)
        self.num_classes = integer(1, optional=True, num_classes=num_classes)
        self.logit_sim = one_of(('mixture', 'pooled'), logit_sim=logit_sim)
        sigmoid = activation == 'sigmoid'
        ensure(not (entropy and sigmoid), 'entropy', 'must be False for a head of sigmoids')
        self.entropy = entropy
        # A teacher is no part of this module: a plain list keeps it unregistered.
        self._classifier: list[Any] = []

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the shapes; keep the teacher's head for ``'pooled'``."""
        if self.logit_sim == 'pooled':
            assert isinstance(self.teacher_taps, tuple)
            classifier = teachers[self.teacher_taps[0].model]
            if not (hasattr(classifier.model, 'head') and teacher[-1].ndim == 4):
                raise ConfigError(
                    'logit_sim',
                    "'pooled' needs a classifier with a head and a tap of its last feature map "
                    "(teacher=dict(module='backbone', levels=(-1,))); otherwise use 'mixture'",
                )
            self._classifier = [classifier]
            teacher = [self._classify(teacher)]
        refuse_queries(model, student)
        self.check_pairs(student, teacher, ndim=student[0].ndim)
        check_channels(student, teacher)
        check_class_channels(student, self.num_classes)

    def _classify(self, feature: list[Tensor]) -> Tensor:
        """Return the teacher's logits (N, K) for its feature maps."""
        model = self._classifier[0].model
        dtype = next(model.parameters()).dtype
        maps: Any = tuple(f.to(dtype) for f in feature)
        with torch.no_grad(), torch.autocast(maps[0].device.type, enabled=False):
            if getattr(model, 'neck', None) is not None:
                maps = model.neck(maps)
            return model.head(maps).float()

    def forward(self, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``kd``, the mean over the levels of a dense head, or the divergence itself."""
        refuse_regions(student, view)
        dense = self.activation == 'sigmoid' or bool(self.num_classes)
        if dense:
            targets = [view.simulate(t) for t in teacher]  # logits
        elif self.logit_sim == 'pooled':
            logits = self._classify([view.simulate(t) for t in teacher])
            targets = [(logits / self.tau).softmax(1)]
        else:
            targets = [view.simulate((t / self.tau).softmax(1)) for t in teacher]
        losses = []
        for s, t in zip(student, targets):
            s = resize_to(s, tuple(t.shape[-2:])) if s.ndim == 4 else s
            losses.append(self._dense_loss(s, t) if dense else self._divergence(s, t))
        return dict(kd=torch.stack(losses).mean())

    def _dense_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one level, from logits (N, A·K, H, W) or (N, K)."""
        if student.ndim == 4:
            classes = self.num_classes or student.shape[1]
            student, teacher = class_rows(student, classes), class_rows(teacher, classes)
        if self.activation == 'sigmoid':
            return dense_binary_kl(student, teacher, self.tau)
        return self._divergence(student, (teacher / self.tau).softmax(1))

    def _divergence(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, K, ...), from the teacher's distributions at τ."""
        loss = kl_divergence(student, target, self.tau)
        if self.entropy:
            loss = loss + self.tau**2 * torch.special.entr(target).sum(1).mean()
        return loss
