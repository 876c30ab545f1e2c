"""CrossKD: the student's head features in the teacher's head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.functional import channel_std_mean, distribution_kl, prior_rows, standardize
from mmkd.methods.adapters import Adapter
from mmkd.methods.detection import DenseTargets, HeadMaps, HeadMethod, check_shapes, parse_family
from mmkd.registry import MODELS
from mmkd.taps import Tap
from mmkd.utils import integer, non_negative, one_of, positive
from mmkd.view import View


def quality_focal_kd(student_logits: Tensor, teacher_logits: Tensor, beta: float = 1.0) -> Tensor:
    """Cross entropy of sigmoids, weighted by the distance to the teacher's score.

    ``Σ_k |σ(s_k) - σ(t_k)|^β BCE(σ(s_k), σ(t_k))``: the quality focal loss (Li et al., NeurIPS
    2020) with a teacher's scores as targets.

    Args:
        student_logits: Logits (P, K).
        teacher_logits: Logits (P, K), without gradient.
        beta: Exponent of the focal weight. Defaults to 1.0.

    Returns:
        Losses (P,); 0 where the student equals the teacher.
    """
    # mmdet's quality_focal_loss_tensor_target indexes by a mask, which waits for the device.
    target = teacher_logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(student_logits, target, reduction='none')
    return (entropy * (student_logits.sigmoid() - target).abs().pow(beta)).sum(1)


@MODELS.register_module()
class CrossKD(HeadMethod):
    """Feed the student's head features into the teacher's head and distill the predictions.

    The student's feature behind the i-th conv of a branch gets mean and sample deviation of the
    teacher's in every channel and passes a ReLU, the teacher's remaining convs and its predictor,
    which are frozen but let gradients through. These cross predictions ĉ, r̂ imitate the teacher's
    own c, r; the student's own predictions learn the ground truth only:

    ``L = λ_c Σ_p v_p Σ_k |σ(ĉ) - σ(c)| BCE(σ(ĉ), σ(c)) / M + λ_r Σ_p w_p D(r̂, r) / Z``

    with v = 0 for priors that the head's own assigner ignores and 1 elsewhere,
    w = [v ≠ 0] max_k σ(c_k), and M = number of positives, the mean over the processes (RetinaNet:
    of this process). D and Z depend on the head: KL of the edges' distributions, mean
    over the four, and Z = Σ_p w_p (GFL); 1 - GIoU (RetinaNet, ATSS) or -log IoU (FCOS) and Z = M.
    ATSS adds the cross entropy of centerness on positives. FCOS replaces M by the sum of the
    centerness targets.

    Source: Wang et al., "CrossKD: Cross-Head Knowledge Distillation for Object Detection", CVPR
    2024; ``mmdet/models/detectors/crosskd_*.py`` of jbwang1997/CrossKD@87e156a. That code holds the
    feature in front of the activation, but mmcv's in-place ReLU overwrites it, in student and
    teacher.

    Args:
        student: Path of the student's dense head. Defaults to ``'bbox_head'``.
        teacher: Path of the teacher's; ``'name:bbox_head'`` where there are several teachers.
            Defaults to ``'bbox_head'``.
        head: Kind of both heads: ``'gfl'``, ``'retina'``, ``'atss'``, ``'fcos'``, or a dict of
            the arguments of :class:`~mmkd.methods.detection.HeadFamily` for another one.
            Defaults to ``'gfl'``.
        start: Convs i of the student in front of the teacher's; 0 takes the neck's maps. Defaults
            to None: as published for the head.
        activated: Whether the feature behind conv i is taken behind its activation, as in all
            published runs, or before it. Defaults to True.
        cls_weight: Weight λ_c. Defaults to None: as published for the head.
        reg_weight: Weight λ_r. Defaults to None: as published for the head.
        centerness_weight: Weight of the centerness term. Defaults to None: as published.
        min_centerness: Least sum of centerness targets that FCOS's terms are divided by;
            officially 1e-6. Defaults to 1.0.
        **kwargs: See :class:`~mmkd.methods.detection.HeadMethod`.

    Deviations: where the channels differ, one 1×1 convolution for each branch, shared by the
    levels, comes first. FCOS's sum of centerness is at least 1, or a batch without objects would
    have a loss a million times as large; ``min_centerness=1e-6`` is the official value. A feature
    of one value in each channel has deviation 0, officially NaN.
    """

    def __init__(
        self,
        student: str = 'bbox_head',
        teacher: str = 'bbox_head',
        head: str | Mapping[str, Any] = 'gfl',
        start: int | None = None,
        activated: bool = True,
        cls_weight: float | None = None,
        reg_weight: float | None = None,
        centerness_weight: float | None = None,
        min_centerness: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.family = parse_family(head)
        self.activated = one_of((True, False), activated=activated)
        self.min_centerness = positive(min_centerness=min_centerness)
        self.start = integer(0, start=self.family.start if start is None else start)
        weights = dict(cls=cls_weight, reg=reg_weight, centerness=centerness_weight)
        self.lambdas = {}
        for term, value in weights.items():
            value = getattr(self.family, f'{term}_weight') if value is None else value
            self.lambdas[term] = non_negative(**{f'{term}_weight': value})
        taps: dict[str, dict[str, tuple[Tap, ...]]] = {
            side: {branch: self.feature_tap(path, branch, side) for branch in ('cls', 'reg')}
            for side, path in self.paths.items()
        }
        for term, module in self.predictors().items():
            tap = Tap.parse(f'{teacher}.{module}', None, 'teacher')
            taps['teacher'][f'{term}_predicted'] = tap
        self.student_taps, self.teacher_taps = taps['student'], taps['teacher']

    def needed(self) -> list[str]:
        """Return the attributes of a head that the method reads."""
        return ['cls_convs', 'reg_convs', *self.predictors().values()]

    def known(self) -> str:
        """Return the heads that the method supports."""
        return (
            "CrossKD is for heads whose levels share their convs: head='gfl' (GFLHead), 'retina' "
            "(RetinaHead), 'atss' (ATSSHead), 'fcos' (FCOSHead), or the names of another one's "
            'modules (see HeadFamily)'
        )

    def predictors(self) -> dict[str, str]:
        """Return the names of the predictors by term."""
        names = dict(cls=self.family.cls, reg=self.family.reg, centerness=self.family.centerness)
        return {term: name for term, name in names.items() if name}

    def feature_tap(self, path: str, branch: str, key: str) -> tuple[Tap, ...]:
        """Return the tap of a branch's feature."""
        convs = f'{path}.{branch}_convs'
        config: dict[str, Any]
        if not self.start:
            config = dict(module=f'{convs}.0', source='input')
        elif self.activated:
            config = dict(module=f'{convs}.{self.start - 1}')
        else:  # the activation overwrites its input
            module = f'{convs}.{self.start - 1}.activate'
            config = dict(module=module, source='input', clone=True)
        return Tap.parse(config, None, key)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Check the heads and create the adapters."""
        super().build(model, student, teacher, teachers)
        self.adapters = nn.ModuleDict()
        for branch in ('cls', 'reg'):
            check_shapes(student, teacher, branch, dims=2)
            channels = (side[branch][0].shape[1] for side in (student, teacher))
            self.adapters[branch] = Adapter(*channels)

    def cross(self, branch: str, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the last feature of a branch of the teacher's head for the student's feature.

        Both features are those behind conv ``start``: (N, C_student, H, W), (N, C_teacher, H, W).
        """
        x = standardize(self.adapters[branch](student, tuple(teacher.shape[-2:])))
        std, mean = channel_std_mean(teacher)
        x = F.relu(x * std + mean) if self.start else x * std + mean
        x = x.to(next(self.head.parameters()).dtype)
        for conv in getattr(self.head, f'{branch}_convs')[self.start :]:
            x = conv(x)
        return x

    def forward(self, student: HeadMaps, teacher: HeadMaps, view: View) -> dict[str, Tensor]:
        """Return ``cls``, ``reg`` and, for heads with it, ``centerness``."""
        predicted = {term: teacher[f'{term}_predicted'] for term in self.predictors()}
        crossed: HeadMaps = {term: [] for term in predicted}
        for level in range(len(student['cls'])):
            features = {
                branch: self.cross(branch, student[branch][level], teacher[branch][level])
                for branch in ('cls', 'reg')
            }
            for term, module in self.predictors().items():
                feature = features['cls' if term == 'cls' else 'reg']
                crossed[term].append(getattr(self.head, module)(feature).to(teacher['cls'][level]))
        losses = self.losses(crossed, predicted, *self.targets(predicted['cls'], view))
        return {term: value * self.lambdas[term] for term, value in losses.items()}

    def losses(
        self, crossed: HeadMaps, predicted: HeadMaps, levels: list[DenseTargets], number: Tensor
    ) -> dict[str, Tensor]:
        """Return the unweighted terms of the cross predictions and the teacher's.

        The last arguments are the targets of every level and the number of positives M.
        """
        if not hasattr(self.head, 'get_anchors'):
            centers = [self.head.centerness_target(t.boxes[t.positive]) for t in levels]
            number = torch.cat(centers).sum()
        if self.family.averaged:
            all_reduce(number, op='mean')
        if not hasattr(self.head, 'get_anchors'):
            number = number.clamp(min=self.min_centerness)
        classes = self.head.cls_out_channels
        cls, reg, center = [], [], []
        total = number.new_zeros(())
        for level, target in enumerate(levels):
            scores = [prior_rows(x['cls'][level], classes) for x in (crossed, predicted)]
            cls.append((quality_focal_kd(scores[0], scores[1]) * target.weights).sum())
            weights = scores[1].amax(1).sigmoid() * (target.weights != 0)  # (P,)
            total = total + weights.sum()
            boxes = [self.scaled(x['reg'][level], level) for x in (crossed, predicted)]
            distance = self.box_distance(boxes[0], boxes[1], target.priors, level)  # (P,)
            reg.append((distance * weights).sum())
            if 'centerness' in crossed:
                logits, soft = (
                    prior_rows(x['centerness'][level], 1)[:, 0] for x in (crossed, predicted)
                )
                entropy = F.binary_cross_entropy_with_logits(
                    logits, soft.sigmoid(), reduction='none'
                )
                center.append((entropy * target.positive).sum())
        norm = total.clamp(min=1e-6) if self.family.box == 'distribution' else number
        losses = dict(cls=torch.stack(cls).sum() / number, reg=torch.stack(reg).sum() / norm)
        if center:
            losses['centerness'] = torch.stack(center).sum() / number
        return losses

    def scaled(self, maps: Tensor, level: int) -> Tensor:
        """Return box predictions with the teacher's factor of the level."""
        scales = getattr(self.head, 'scales', None)
        return maps if scales is None else scales[level](maps)

    def box_distance(self, cross: Tensor, teacher: Tensor, priors: Tensor, level: int) -> Tensor:
        """Return the distance (P,) of two box predictions (N, A·D, H, W)."""
        head = self.head
        if self.family.box == 'distribution':
            bins = head.reg_max + 1
            edges = distribution_kl(prior_rows(cross, bins), prior_rows(teacher, bins))  # (P·4,)
            return edges.view(-1, 4).mean(1)
        rows = [prior_rows(x, 4) for x in (cross, teacher)]
        if not hasattr(head, 'get_anchors'):  # distances to the edges, positive as in FCOS
            stride = head.strides[level]
            rows = [x.clamp(min=0) * stride if head.norm_on_bbox else x.exp() for x in rows]
        boxes = [head.bbox_coder.decode(priors, x) for x in rows]
        from mmdet.models.losses.iou_loss import giou_loss, iou_loss

        if self.family.box == 'giou':
            return giou_loss(*boxes, reduction='none', eps=1e-6)
        return iou_loss(*boxes, mode='log', reduction='none', eps=1e-6)

    def masks(self, student: HeadMaps, teacher: HeadMaps, view: View) -> list[Tensor]:
        """Return the teacher's highest class score at every location, the weight of its boxes."""
        return [t.sigmoid().amax(1, keepdim=True) for t in teacher['cls_predicted']]
