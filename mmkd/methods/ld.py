"""Localization distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import distribution_kl, prior_rows, valuable_region
from mmkd.methods.base import Method, Tensors
from mmkd.models.dense_targets import check_head, dense_targets
from mmkd.registry import MODELS
from mmkd.taps import Tap, parse_levels
from mmkd.utils import ConfigError
from mmkd.view import View

VALUABLE = ('ATSSAssigner',)


@MODELS.register_module()
class LD(Method):
    """Distil where the edges of boxes are: for heads that predict distributions, such as GFL's.

    With z the logits of an edge over n + 1 bins:

    ``L_main = λ/4 Σ_p∈main w_p Σ_e τ² KL(softmax(t_pe/τ) || softmax(s_pe/τ)) / (n + 1)``

    over the main region, the positives of the head's own assigner, with w = the student's highest
    class score; over the valuable region around it (:func:`~mmkd.functional.valuable_region`)
    λ/16 and w = the IoU of the anchor; and, if wanted, class logits on the positives.

    Source: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR 2022, and
    its official code.

    Args:
        student: Path of the student's dense head. Defaults to ``'bbox_head'``.
        teacher: Path of the teacher's; ``'name:bbox_head'`` where there are several teachers.
            Defaults to ``'bbox_head'``.
        cls: Name of the classifier in both heads. Defaults to ``'gfl_cls'``.
        levels: Pyramid levels of the heads; all of them, in order. Defaults to
            ``(0, 1, 2, 3, 4)``.
        tau: Temperature of the edges. Defaults to 10.0.
        main_weight: Weight λ on the main region. Defaults to 0.25.
        valuable_weight: Weight λ on the valuable region, which needs the ATSS assigner; 0 leaves
            it out. Defaults to 0.25.
        cls_weight: Weight of the class logits on the positives; published 10. Defaults to 0.0.
        cls_tau: Temperature of the class logits. Defaults to 2.0.
        weight: Weight (or schedule) of the whole. Defaults to 1.0.
        warmup_iters: Linear warm-up of the weight. Defaults to 0.
        every: Use the method only every so many iterations. Defaults to 1.

    Deviations: which priors are positive is found with the teacher's head, whose anchors and
    assigner have to be the student's. The paper's feature imitation is left out.
    """

    def __init__(
        self,
        student: str = 'bbox_head',
        teacher: str = 'bbox_head',
        cls: str = 'gfl_cls',
        levels: Sequence[int] = (0, 1, 2, 3, 4),
        tau: float = 10.0,
        main_weight: float = 0.25,
        valuable_weight: float = 0.25,
        cls_weight: float = 0.0,
        cls_tau: float = 2.0,
        weight: Any = 1.0,
        warmup_iters: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(weight=weight, warmup_iters=warmup_iters, every=every)
        self._paths = dict(student=student, teacher=teacher)
        self.cls = cls
        self.levels = levels
        self.tau = dict(box=tau, cls=cls_tau)
        self.lambdas = dict(main=main_weight, valuable=valuable_weight, cls=cls_weight)
        # A teacher is no part of this module: a plain list keeps it unregistered.
        self._teacher: list[Any] = []
        for name, tau in (('tau', self.tau['box']), ('cls_tau', self.tau['cls'])):
            if not tau > 0:
                raise ConfigError(name, f'a temperature is positive, not {tau}')
        for name, value in self.lambdas.items():
            if not value >= 0:
                raise ConfigError(f'{name}_weight', f'is not negative, unlike {value!r}')
        if not any(self.lambdas.values()):
            raise ConfigError('main_weight', 'all three weights are 0: set weight=0')
        levels = parse_levels(self.levels, 'levels') or ()
        taps: dict[str, Any] = {}
        for side, path in self._paths.items():
            if not isinstance(path, str) or not path:
                raise ConfigError(side, f'is the path of a head, not {path!r}')
            # What a level's factor returns are the distributions of that level.
            boxes = [f'{path}.scales.{level}' for level in levels]
            taps[side] = dict(
                box=Tap.parse(boxes, None, side),
                cls=Tap.parse(f'{path}.{self.cls}', None, side),
            )
        self.student_taps, self.teacher_taps = taps['student'], taps['teacher']

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Check that both heads predict distributions over the same bins and priors."""
        assert isinstance(student, dict) and isinstance(teacher, dict)
        assert isinstance(self.teacher_taps, dict)
        self._teacher = [teachers[self.teacher_taps['cls'][0].model]]
        check_head(self.head, 'teacher')
        if not hasattr(self.head, 'reg_max'):
            raise ConfigError(
                'teacher',
                f'{type(self.head).__name__} predicts no distributions of edges (reg_max); '
                'localization distillation is for heads such as GFLHead',
            )
        for name in ('box', 'cls'):
            shapes = [[tuple(x.shape[1:]) for x in side[name]] for side in (student, teacher)]
            if shapes[0] != shapes[1]:
                raise ConfigError(
                    'student',
                    f"the student's {name} maps {shapes[0]} and the teacher's {shapes[1]} differ; "
                    'both heads need the same priors, bins and classes',
                )
        if len(student['box']) != len(student['cls']):
            raise ConfigError(
                'levels', f'the heads have {len(student["cls"])} levels; name them all'
            )
        if self.lambdas['cls'] and self.head.cls_out_channels == 1:
            raise ConfigError(
                'cls_weight', 'a softmax over a single class is always 1: set it to 0'
            )
        assigner = type(self.head.assigner).__name__
        if self.lambdas['valuable'] and assigner not in VALUABLE:
            raise ConfigError(
                'valuable_weight',
                f'the valuable region is defined by the thresholds of ATSS, not of {assigner}: '
                'set it to 0',
            )

    @property
    def head(self) -> Any:
        """The teacher's head."""
        path = self._paths['teacher'].rpartition(':')[2]
        return self._teacher[0].model.get_submodule(path)

    def forward(
        self, student: dict[str, list[Tensor]], teacher: dict[str, list[Tensor]], view: View
    ) -> dict[str, Tensor]:
        """Return ``main``, ``valuable`` and ``cls``, as far as they have weights."""
        head, bins = self.head, self.head.reg_max + 1
        sizes = [tuple(t.shape[-2:]) for t in teacher['cls']]
        targets, _ = dense_targets(head, sizes, view.data_samples, teacher['cls'][0])
        regions = self.valuable(targets, view) if self.lambdas['valuable'] else []
        terms: dict[str, list[Tensor]] = {k: [] for k, value in self.lambdas.items() if value}
        for level, target in enumerate(targets):
            boxes = [prior_rows(x['box'][level], bins) for x in (student, teacher)]
            scores = [
                prior_rows(x['cls'][level], head.cls_out_channels) for x in (student, teacher)
            ]
            # The mean over the bins is that of the reference.
            edges = (
                distribution_kl(boxes[0], boxes[1], self.tau['box']).view(-1, 4).mean(1) / bins
            )  # (P,)
            positive = target.positive.to(edges)
            if 'main' in terms:
                confidence = scores[0].detach().amax(1).sigmoid()
                terms['main'].append((edges * confidence * positive).sum())
            if 'valuable' in terms:
                counts = (target.weights > 0).to(edges)  # not in the padding of a batch
                terms['valuable'].append((edges * regions[level] * counts).sum() / 4)
            if 'cls' in terms:
                divergence = distribution_kl(scores[0], scores[1], self.tau['cls'])
                mean = (divergence * positive).sum() / positive.sum().clamp(min=1)
                terms['cls'].append(mean / head.cls_out_channels)
        return {name: torch.stack(x).sum() * self.lambdas[name] for name, x in terms.items()}

    def valuable(self, targets: Sequence[Any], view: View) -> list[Tensor]:
        """Return the weights (P,) of the valuable region of every level."""
        count = len(view.data_samples)
        sizes = [len(target.priors) // count for target in targets]
        anchors = torch.cat([t.priors[:size] for t, size in zip(targets, sizes)])
        images = []
        for sample in view.data_samples:
            boxes = sample.gt_instances.bboxes
            boxes = getattr(boxes, 'tensor', boxes).to(anchors)
            images.append(valuable_region(anchors, boxes, sizes, self.head.assigner.topk))
        return [torch.cat(level) for level in zip(*(image.split(sizes) for image in images))]
