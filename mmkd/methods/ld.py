"""Localization distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import distribution_kl, prior_rows
from mmkd.methods.detection import DenseTargets, HeadMaps, HeadMethod, check_shapes, objects
from mmkd.registry import MODELS
from mmkd.taps import Tap, parse_levels
from mmkd.utils import ensure, positive, term_weights
from mmkd.view import View

VALUABLE = ('ATSSAssigner',)


def valuable_region(
    priors: Tensor, boxes: Tensor, level_sizes: list[int], topk: int = 9, gamma: float = 0.25
) -> Tensor:
    """Return the weights of the valuable localization region of an image.

    A prior belongs to it if, for some box, its distance-IoU lies between γ and 1 times the
    threshold of positives of ATSS: mean plus deviation of the IoUs of the ``topk`` priors of every
    level that are nearest to the box's center. Its weight is the largest IoU with such a box.

    The official code takes the thresholds from ATSS (Zhang et al., CVPR 2020).

    Args:
        priors: Anchors (P, 4) of all levels, level by level.
        boxes: Ground truth (G, 4).
        level_sizes: Number of priors of each level.
        topk: Candidates of each level. Defaults to 9.
        gamma: Lower end of the region. Defaults to 0.25.

    Returns:
        Weights (P,); 0 outside the region, and everywhere without boxes.
    """
    if not len(boxes):
        return priors.new_zeros(len(priors))
    from mmdet.structures.bbox import bbox_overlaps

    iou = bbox_overlaps(priors, boxes)  # (P, G)
    pair = priors[:, None], boxes[None]
    centers = [(b[..., :2] + b[..., 2:]) / 2 for b in pair]
    distance = (centers[0] - centers[1]).square().sum(-1)  # (P, G)
    enclosing = torch.maximum(*pair)[..., 2:] - torch.minimum(*pair)[..., :2]
    diagonal = enclosing.square().sum(-1).clamp(min=1e-6)
    candidates, start = [], 0
    for size in level_sizes:
        nearest = distance[start : start + size].topk(min(topk, size), dim=0, largest=False)[1]
        candidates.append(nearest + start)
        start += size
    chosen = iou.gather(0, torch.cat(candidates))  # (candidates, G)
    threshold = chosen.mean(0) + chosen.std(0)
    diou = iou - distance / diagonal
    inside = (diou < threshold) & (diou >= gamma * threshold)
    return (iou * inside).amax(1)


@MODELS.register_module()
class LD(HeadMethod):
    """Distill the positions of box edges: for heads that predict distributions, such as GFL's.

    With z the logits of an edge over n + 1 bins:

    ``L_main = λ/4 Σ_p∈main w_p Σ_e τ² KL(softmax(t_pe/τ) || softmax(s_pe/τ)) / (n + 1)``

    over the main region, the positives of the head's own assigner, with w = the student's highest
    class score; over the valuable region around it (:func:`valuable_region`)
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
        **kwargs: See :class:`~mmkd.methods.detection.HeadMethod`.

    Deviations: the teacher's head finds the positives; its anchors and assigner must be the
    student's. The paper's feature imitation is left out.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau, self.cls_tau = positive(tau=tau), positive(cls_tau=cls_tau)
        self.lambdas = term_weights(main=main_weight, valuable=valuable_weight, cls=cls_weight)
        indices = parse_levels(levels, 'levels') or ()
        taps: dict[str, Any] = {}
        for side, path in self.paths.items():
            # The output of a level's factor is the distributions of that level.
            modules = dict(box=[f'{path}.scales.{level}' for level in indices], cls=f'{path}.{cls}')
            taps[side] = {name: Tap.parse(m, None, side) for name, m in modules.items()}
        self.student_taps, self.teacher_taps = taps['student'], taps['teacher']

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check that both heads predict distributions over the same bins and priors."""
        super().build(model, student, teacher, teachers)
        ensure(
            hasattr(self.head, 'reg_max'),
            'teacher',
            f'{type(self.head).__name__} predicts no distributions of edges (reg_max); '
            'localization distillation is for heads such as GFLHead',
        )
        for name in ('box', 'cls'):
            check_shapes(student, teacher, name, dims=1)
        boxes, levels = len(student['box']), len(student['cls'])
        ensure(boxes == levels, 'levels', f'the heads have {levels} levels; list them all')
        ensure(
            not self.lambdas['cls'] or self.head.cls_out_channels > 1,
            'cls_weight',
            'must be 0: the softmax over a single class is constant',
        )
        assigner = type(self.head.assigner).__name__
        ensure(
            not self.lambdas['valuable'] or assigner in VALUABLE,
            'valuable_weight',
            f'must be 0: the valuable region needs the thresholds of ATSS, not of {assigner}',
        )

    def forward(self, student: HeadMaps, teacher: HeadMaps, view: View) -> dict[str, Tensor]:
        """Return ``main``, ``valuable`` and ``cls``, as far as they have weights."""
        classes, bins = self.head.cls_out_channels, self.head.reg_max + 1
        targets, _ = self.targets(teacher['cls'], view)
        regions = self.valuable(targets, view) if self.lambdas['valuable'] else []
        terms: HeadMaps = {k: [] for k, value in self.lambdas.items() if value}
        for level, target in enumerate(targets):
            boxes = [prior_rows(x['box'][level], bins) for x in (student, teacher)]
            scores = [prior_rows(x['cls'][level], classes) for x in (student, teacher)]
            # The mean over the bins is that of the reference.
            edges = distribution_kl(boxes[0], boxes[1], self.tau).view(-1, 4).mean(1) / bins  # (P,)
            positive = target.positive.to(edges)
            if 'main' in terms:
                confidence = scores[0].detach().amax(1).sigmoid()
                terms['main'].append((edges * confidence * positive).sum())
            if 'valuable' in terms:
                counts = (target.weights > 0).to(edges)  # not in the padding of a batch
                terms['valuable'].append((edges * regions[level] * counts).sum() / 4)
            if 'cls' in terms:
                divergence = distribution_kl(scores[0], scores[1], self.cls_tau)
                mean = (divergence * positive).sum() / positive.sum().clamp(min=1)
                terms['cls'].append(mean / classes)
        return {name: torch.stack(x).sum() * self.lambdas[name] for name, x in terms.items()}

    def valuable(self, targets: Sequence[DenseTargets], view: View) -> list[Tensor]:
        """Return the weights (P,) of the valuable region of every level."""
        found = objects(view)
        sizes = [len(target.priors) // len(found) for target in targets]
        anchors = torch.cat([t.priors[:size] for t, size in zip(targets, sizes)])
        images = [
            valuable_region(anchors, image.bboxes.to(anchors), sizes, self.head.assigner.topk)
            for image in found
        ]
        return [torch.cat(level) for level in zip(*(image.split(sizes) for image in images))]
