"""Logit distillation for images, pixels and dense heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import class_rows, dense_binary_kl, kl_divergence, resize_to
from mmkd.methods.base import Method, Tensors
from mmkd.methods.classification import check_classes, refuse_regions
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View


@MODELS.register_module()
class LogitKD(Method):
    """Pull the student's class distributions towards the teacher's.

    ``L = τ² KL(softmax(z_t / τ) || softmax(z_s / τ))``, mean over images (N, K) or over the pixels
    of a segmenter's map (N, K, H, W); with ``activation='softmax'`` and ``num_classes`` over the
    anchors of a dense head (N, A·K, H, W), with ``'sigmoid'`` the binary form of
    :func:`~mmkd.functional.dense_binary_kl`.

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
        logit_sim: What a teacher says of a mixed image, for image logits. ``'mixture'``: its
            distributions of the clean images, weighted by area. ``'pooled'``: its own neck and
            head on the simulated feature map, so that a patch without evidence adds nothing; for
            mmpretrain's classifiers. Maps are always gathered cell by cell. Defaults to
            ``'mixture'``.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: on maps the student is resized to the teacher. Pixels with the ignore label count.
    Where a cell has several sources (MixUp, patches smaller than a stride) a dense head's logits
    are averaged, not its probabilities.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau
        self.activation = activation
        self.num_classes = num_classes
        self.logit_sim = logit_sim
        # A teacher is no part of this module: a plain list keeps it unregistered.
        self._classifier: list[Any] = []
        if self.activation not in ('softmax', 'sigmoid'):
            raise ConfigError('activation', "use 'softmax' or 'sigmoid'")
        if self.logit_sim not in ('mixture', 'pooled'):
            raise ConfigError('logit_sim', "use 'mixture' or 'pooled'")
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Check the shapes; remember the teacher's head for ``'pooled'``."""
        assert isinstance(student, list) and isinstance(teacher, list)
        if self.logit_sim == 'pooled':
            assert isinstance(self.teacher_taps, tuple)
            classifier = teachers[self.teacher_taps[0].model]
            if not (hasattr(classifier.model, 'head') and teacher[-1].ndim == 4):
                raise ConfigError(
                    'logit_sim',
                    "'pooled' needs a classifier with a `head` and a tap of its last feature map "
                    "(teacher=dict(module='backbone', levels=(-1,))); else use 'mixture'",
                )
            self._classifier = [classifier]
            teacher = [self.head_of(teacher)]
        self.check_pairs(student, teacher, ndim=student[0].ndim)
        check_classes(student, teacher)
        for s in student:
            if self.num_classes and s.shape[1] % self.num_classes:
                raise ConfigError(
                    'num_classes',
                    f'{s.shape[1]} channels are no multiple of {self.num_classes} classes',
                )

    def head_of(self, feature: list[Tensor]) -> Tensor:
        """Return the teacher's logits (N, K) of its feature maps."""
        model = self._classifier[0].model
        dtype = next(model.parameters()).dtype
        maps: Any = tuple(f.to(dtype) for f in feature)
        with torch.no_grad(), torch.autocast(maps[0].device.type, enabled=False):
            if getattr(model, 'neck', None) is not None:
                maps = model.neck(maps)
            return model.head(maps).float()

    def teacher_probs(self, teacher: list[Tensor], view: View) -> list[Tensor]:
        """Return the teacher's distributions on what the student sees."""
        if self.logit_sim == 'pooled':
            teacher = [self.head_of([view.simulate(t) for t in teacher])]
            return [(t / self.tau).softmax(1) for t in teacher]
        return [view.simulate((t / self.tau).softmax(1)) for t in teacher]

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``kd``, the mean over the levels of a dense head, or the divergence itself.

        Raises:
            ConfigError: The logits are those of regions, which differ between the two models.
        """
        refuse_regions(student, view)
        losses = []
        if self.activation == 'sigmoid' or self.num_classes:
            for s, t in zip(student, teacher):
                t = view.simulate(t)
                s = resize_to(s, tuple(t.shape[-2:])) if s.ndim == 4 else s
                if s.ndim == 4:
                    classes = self.num_classes or s.shape[1]
                    s, t = class_rows(s, classes), class_rows(t, classes)
                if self.activation == 'sigmoid':
                    losses.append(dense_binary_kl(s, t, self.tau))
                else:
                    losses.append(kl_divergence(s, (t / self.tau).softmax(1), self.tau))
        else:
            for s, p in zip(student, self.teacher_probs(teacher, view)):
                s = resize_to(s, tuple(p.shape[-2:])) if s.ndim == 4 else s
                losses.append(kl_divergence(s, p, self.tau))
        return dict(kd=torch.stack(losses).mean())
