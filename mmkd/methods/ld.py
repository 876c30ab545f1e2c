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
from mmkd.utils import ensure, one_of, positive, term_weights
from mmkd.view import View

VALUABLE = ('ATSSAssigner',)


def valuable_region(
    priors: Tensor,
    boxes: Tensor,
    level_sizes: Sequence[int],
    topk: int = 9,
    gamma: float = 0.25,
    overlap: str = 'iof',
    ignored: Tensor | None = None,
) -> Tensor:
    """Return the weights of the valuable localization region of an image.

    A prior belongs to it if, for some box, its overlap minus ``ρ²/c²`` lies between γ and 1 times
    the threshold of positives of ATSS (Zhang et al., CVPR 2020): mean plus sample deviation of the
    IoUs of the ``topk`` priors of every level that are nearest to the box's center. ρ is the
    distance of the centers, c the diagonal of the enclosing box. The weight of the prior is its
    largest IoU with such a box.

    Source: Zheng et al., CVPR 2022, section 3.2; ``ATSSAssigner.get_vlr_region`` in
    ``mmdet/core/bbox/assigners/atss_assigner.py`` of HikariTJU/LD@4287990.

    Args:
        priors: Anchors (P, 4) of all levels, level by level, without those in the padding.
        boxes: Ground truth (G, 4).
        level_sizes: Number of priors of each level.
        topk: Candidates of each level. Defaults to 9.
        gamma: Lower end of the region. Defaults to 0.25.
        overlap: ``'iof'``, the intersection over the prior's area, as in the official code, or
            ``'iou'``, over the union, as in the paper's distance-IoU. Defaults to ``'iof'``.
        ignored: Priors (P,) that come after all others among the candidates. Defaults to None.

    Returns:
        Weights (P,); 0 outside the region, and everywhere without boxes.
    """
    if not len(boxes) or not len(priors):
        return priors.new_zeros(len(priors))
    from mmdet.structures.bbox import bbox_overlaps

    iou = bbox_overlaps(priors, boxes)  # (P, G)
    pair = priors[:, None], boxes[None]
    centers = [(b[..., :2] + b[..., 2:]) / 2 for b in pair]
    distance = (centers[0] - centers[1]).square().sum(-1)  # (P, G)
    enclosing = torch.maximum(*pair)[..., 2:] - torch.minimum(*pair)[..., :2]
    diagonal = enclosing.square().sum(-1).clamp(min=1e-6)
    far = distance.sqrt()  # as in ATSS: it decides which of two equal distances comes first
    if ignored is not None:
        far = far.masked_fill(ignored[:, None], torch.inf)
    candidates, start = [], 0
    for size in level_sizes:
        nearest = far[start : start + size].topk(min(topk, size), dim=0, largest=False)[1]
        candidates.append(nearest + start)
        start += size
    chosen = iou.gather(0, torch.cat(candidates))  # (candidates, G)
    threshold = chosen.mean(0) + chosen.std(0)
    near = bbox_overlaps(priors, boxes, mode=overlap) - distance / diagonal
    inside = (near < threshold) & (near >= gamma * threshold)
    return (iou * inside).amax(1)


@MODELS.register_module()
class LD(HeadMethod):
    """Distill the positions of box edges: for heads that predict distributions, such as GFL's.

    With z the logits of an edge over n + 1 bins:

    ``L_main = λ/4 Σ_p∈main w_p Σ_e τ² KL(softmax(t_pe/τ) || softmax(s_pe/τ)) / (n + 1)``

    over the main region, the positives of the head's own assigner, with w = the student's highest
    class score; over the valuable region around it (:func:`valuable_region`)
    λ/16 and w = the IoU of the anchor; and, if wanted, class logits on the positives.

    Source: Zheng et al., "Localization Distillation for Dense Object Detection", CVPR 2022;
    ``LDHead.loss_single`` in ``mmdet/models/dense_heads/ld_head.py`` of HikariTJU/LD@4287990.

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
        overlap: Overlap that delimits the valuable region: ``'iof'``, divided by the anchor's
            area, as in all published runs, or ``'iou'``, the paper's distance-IoU. Defaults to
            ``'iof'``.
        **kwargs: See :class:`~mmkd.methods.detection.HeadMethod`.

    Deviations: the teacher's head finds the positives; its anchors and assigner must be the
    student's. The feature imitation is left out. ``cls_weight`` is off; the published value is 10.
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
        overlap: str = 'iof',
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.cls = cls
        self.tau, self.cls_tau = positive(tau=tau), positive(cls_tau=cls_tau)
        self.overlap = one_of(('iof', 'iou'), overlap=overlap)
        self.lambdas = term_weights(main=main_weight, valuable=valuable_weight, cls=cls_weight)
        indices = parse_levels(levels, 'levels') or ()
        taps: dict[str, Any] = {}
        for side, path in self.paths.items():
            # The output of a level's factor is the distributions of that level.
            modules = dict(box=[f'{path}.scales.{level}' for level in indices], cls=f'{path}.{cls}')
            taps[side] = {name: Tap.parse(m, None, side) for name, m in modules.items()}
        self.student_taps, self.teacher_taps = taps['student'], taps['teacher']

    def needed(self) -> list[str]:
        """Return the attributes of a head that the method reads."""
        return ['reg_max', 'scales', self.cls]

    def known(self) -> str:
        """Return the heads that the method supports."""
        return (
            'localization distillation is for heads that predict distributions of edges: GFLHead '
            'and its subclasses; another classifier is named by cls'
        )

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check that both heads predict distributions over the same bins and priors."""
        super().build(model, student, teacher, teachers)
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
                terms['valuable'].append((edges * regions[level]).sum() / 4)
            if 'cls' in terms:
                divergence = distribution_kl(scores[0], scores[1], self.cls_tau)
                mean = (divergence * positive * target.weights).sum() / positive.sum().clamp(min=1)
                terms['cls'].append(mean / classes)
        return {name: torch.stack(x).sum() * self.lambdas[name] for name, x in terms.items()}

    def valuable(self, targets: Sequence[DenseTargets], view: View) -> list[Tensor]:
        """Return the weights (P,) of the valuable region of every level."""
        found = objects(view)
        sizes = [len(target.priors) // len(found) for target in targets]
        anchors = torch.cat([t.priors[:size] for t, size in zip(targets, sizes)])
        inside, counts = (
            torch.cat([rows.view(len(found), -1) for rows in flags], 1)  # (N, P)
            for flags in ([t.inside for t in targets], [t.weights > 0 for t in targets])
        )
        left = torch.stack([level.sum(1) for level in inside.split(sizes, 1)], 1).tolist()
        regions = anchors.new_zeros(inside.shape)
        for region, image, seen, counted, numbers in zip(regions, found, inside, counts, left):
            region[seen] = valuable_region(
                anchors[seen],
                image.bboxes.to(anchors),
                numbers,
                self.head.assigner.topk,
                overlap=self.overlap,
                ignored=~counted[seen],
            )
        return [level.flatten() for level in regions.split(sizes, 1)]
