"""What the methods for detectors share: objects, and dense heads with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmkd.methods.base import Maps, Method
from mmkd.utils import ConfigError, box_tensor, check_names, config_key, ensure, one_of
from mmkd.utils.errors import did_you_mean
from mmkd.view import View

HeadMaps = dict[str, Maps]  # by branch or term, one map for each pyramid level


class Objects(NamedTuple):
    """The objects of one image.

    Args:
        bboxes: Boxes (B, 4) as x1, y1, x2, y2 in pixels of the batch, fp32.
        labels: Classes (B,).
    """

    bboxes: Tensor
    labels: Tensor


def objects(view: View) -> list[Objects]:
    """Return the objects of the student's images, on their device.

    Raises:
        ConfigError: There are no boxes x1, y1, x2, y2: the task is not detection.
    """
    found = []
    for sample in view.data_samples:
        instances = getattr(sample, 'gt_instances', None)
        boxes = box_tensor(getattr(instances, 'bboxes', None))
        ensure(
            boxes is not None and boxes.shape[-1] == 4,
            '',
            'needs boxes (x1, y1, x2, y2) in gt_instances.bboxes of every data sample; it is for '
            'detectors',
        )
        device = view.inputs.device
        labels = getattr(instances, 'labels', None)
        labels = boxes.new_zeros(len(boxes)) if labels is None else labels
        found.append(Objects(boxes.to(device, torch.float32), labels.to(device, torch.long)))
    return found


@dataclass(frozen=True)
class HeadFamily:
    """The parts of a kind of dense head, with the published settings of CrossKD.

    Every head has ``cls_convs`` and ``reg_convs``, lists of mmcv's ``ConvModule`` that all pyramid
    levels share, and perhaps one factor for each level in ``scales``.

    Args:
        cls: Name of the classifier.
        reg: Name of the box predictor.
        box: How boxes are compared: ``'distribution'`` (KL of the edges' distributions, as in
            GFL), ``'giou'``, or ``'iou'`` (its negative logarithm), of decoded boxes.
        centerness: Name of the centerness predictor behind ``reg_convs`` that is distilled.
            Defaults to None.
        averaged: Whether the number of positives is the mean over the processes instead of this
            process's own. Defaults to True.
        start: Convs of the student in front of the teacher's. Defaults to 3.
        cls_weight: Weight of the classification term. Defaults to 1.0.
        reg_weight: Weight of the box term. Defaults to 1.0.
        centerness_weight: Weight of the centerness term. Defaults to 1.0.
    """

    cls: str
    reg: str
    box: str
    centerness: str | None = None
    averaged: bool = True
    start: int = 3
    cls_weight: float = 1.0
    reg_weight: float = 1.0
    centerness_weight: float = 1.0


FAMILIES = dict(
    gfl=HeadFamily('gfl_cls', 'gfl_reg', 'distribution', reg_weight=4.0),
    retina=HeadFamily('retina_cls', 'retina_reg', 'giou', averaged=False),
    atss=HeadFamily('atss_cls', 'atss_reg', 'giou', centerness='atss_centerness'),
    fcos=HeadFamily('conv_cls', 'conv_reg', 'iou', start=2, cls_weight=0.4, reg_weight=0.75),
)


def parse_family(head: Any) -> HeadFamily:
    """Return a kind of head, from its name or the arguments of :class:`HeadFamily`.

    Raises:
        ConfigError: It is unknown, or its arguments are.
    """
    if not isinstance(head, Mapping):
        return FAMILIES[one_of(FAMILIES, head=head)]
    known = list(HeadFamily.__dataclass_fields__)
    with config_key('head'):
        check_names(head, known)
        if 'box' in head:
            one_of(('distribution', 'giou', 'iou'), box=head['box'])
        try:
            return HeadFamily(**head)
        except TypeError as error:  # a name is missing
            raise ConfigError('', str(error).replace('.__init__()', '')) from error


@dataclass
class DenseTargets:
    """Targets of one pyramid level, in the order of :func:`~mmkd.functional.prior_rows`.

    P is the number N·H·W·A of priors of the batch on this level.

    Args:
        priors: Anchors (P, 4), or points (P, 2) of a head without anchors.
        labels: Class (P,) of every prior; the number of classes where it is background.
        weights: 1 for the priors (P,) that count in the head's own loss, 0 for ignored ones.
        boxes: The head's own box targets (P, 4).
        positive: Which priors (P,) have an object.
        inside: Which priors (P,) the assigner sees: those in the image, not in its padding.
    """

    priors: Tensor
    labels: Tensor
    weights: Tensor
    boxes: Tensor
    positive: Tensor
    inside: Tensor


def inside_flags(head: nn.Module, anchors: Any, valid: Any, metas: Any) -> list[Tensor]:
    """Return the flags :attr:`DenseTargets.inside` of every level of a head with anchors.

    Args:
        head: Dense head.
        anchors: Anchors (H·W·A, 4), by image and level.
        valid: Their flags of ``head.get_anchors``.
        metas: Meta information of the images.
    """
    from mmdet.models.task_modules.prior_generators import anchor_inside_flags

    border = head.train_cfg['allowed_border']
    images = [
        [anchor_inside_flags(a, v, meta['img_shape'][:2], border) for a, v in zip(*levels)]
        for *levels, meta in zip(anchors, valid, metas)
    ]
    return [torch.cat(level) for level in zip(*images)]


def dense_targets(
    head: nn.Module, sizes: Sequence[tuple[int, int]], samples: Sequence[Any], like: Tensor
) -> tuple[list[DenseTargets], Tensor]:
    """Assign the objects of a batch to the priors of a head, by the head's own assigner.

    Args:
        head: Dense head of mmdet, with anchors (``get_anchors``) or with points, as in FCOS.
        sizes: Height and width of the map of every level.
        samples: N data samples with ``gt_instances``.
        like: Tensor whose device and dtype the targets get.

    Returns:
        The targets of every level, and the number of positives of this process by which the head
        normalizes its own loss, at least 1.
    """
    instances = [sample.gt_instances for sample in samples]
    ignored = [getattr(sample, 'ignored_instances', None) for sample in samples]
    metas = [sample.metainfo for sample in samples]
    count = len(instances)
    if hasattr(head, 'get_anchors'):
        anchors, valid = head.get_anchors(sizes, metas, device=like.device)
        priors = [level.to(like).repeat(count, 1) for level in anchors[0]]
        inside = inside_flags(head, anchors, valid, metas)
        targets = head.get_targets(
            anchors, valid, instances, metas, batch_gt_instances_ignore=ignored
        )
        labels, weights, boxes, _, positives = targets[-5:]  # some heads put the anchors in front
        rows = zip(labels, weights, boxes)
        flat = [(lab.flatten(), w.flatten(), b.flatten(0, 1)) for lab, w, b in rows]
    else:
        points = head.prior_generator.grid_priors(sizes, dtype=like.dtype, device=like.device)
        priors = [level.repeat(count, 1) for level in points]
        labels, boxes = head.get_targets(points, instances)
        flat = [(lab, torch.ones_like(lab), b) for lab, b in zip(labels, boxes)]
        inside = [torch.ones_like(lab, dtype=torch.bool) for lab in labels]
        positives = sum((lab < head.num_classes).sum() for lab, _, _ in flat)
    levels = [
        DenseTargets(p, lab, w.to(like), b.to(like), (lab >= 0) & (lab < head.num_classes), i)
        for p, (lab, w, b), i in zip(priors, flat, inside)
    ]
    number = torch.as_tensor(positives, dtype=like.dtype, device=like.device)
    return levels, number.clamp(min=1)


class HeadMethod(Method):
    """A method for the dense heads of both models, which taps modules inside them.

    Args:
        student: Path of the student's dense head. Defaults to ``'bbox_head'``.
        teacher: Path of the teacher's; ``'name:bbox_head'`` where there are several teachers.
            Defaults to ``'bbox_head'``.
        weight: See :class:`~mmkd.methods.base.Method`, also for the deprecated ``warmup_iters`` and
            ``every``. Defaults to 1.0.
    """

    tasks = ('det',)

    def __init__(
        self,
        student: str = 'bbox_head',
        teacher: str = 'bbox_head',
        weight: Any = 1.0,
        warmup_iters: int | None = None,
        every: int | None = None,
    ) -> None:
        super().__init__(weight=weight, warmup_iters=warmup_iters, every=every)
        self.paths = dict(student=student, teacher=teacher)
        for side, path in self.paths.items():
            named = isinstance(path, str) and path
            ensure(named, side, f'must be the path of a head, got {path!r}')
        # A teacher is not part of this module: a plain list keeps it unregistered.
        self._teacher: list[Any] = []

    def check_models(self, model: nn.Module, teachers: Any) -> None:
        """Check that both heads have the modules that the method reads.

        Raises:
            ConfigError: They do not; the heads that do are named.
        """
        owner, _, path = self.paths['teacher'].rpartition(':')
        models = dict(student=(model, self.paths['student']), teacher=(teachers[owner].model, path))
        for side, (one, path) in models.items():
            modules = dict(one.named_modules())
            head = modules.get(path)
            known = [name for name in modules if name.endswith('head')]
            text = f'{type(one).__name__} has no head {path!r}{did_you_mean(path, known)}'
            ensure(head is not None, side, text)
            for name in self.needed():
                text = f'{type(head).__name__} has no {name!r}: {self.known()}'
                ensure(hasattr(head, name), side, text)

    def needed(self) -> list[str]:
        """Return the attributes of a head that the method reads."""
        raise NotImplementedError

    def known(self) -> str:
        """Return the heads that the method supports, for messages."""
        raise NotImplementedError

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Find the teacher's head, whose assigner finds the positives.

        Raises:
            ConfigError: It is not a dense head, or its config has no ``train_cfg`` with an
                assigner.
        """
        self._teacher = [teachers[self.paths['teacher'].rpartition(':')[0]]]
        head = self.head
        dense = hasattr(head, 'prior_generator') and hasattr(head, 'get_targets')
        ensure(dense, 'teacher', f'{type(head).__name__} is not a dense detection head')
        ensure(
            hasattr(head, 'assigner') or not hasattr(head, 'get_anchors'),
            'teacher',
            "the teacher's config has no model.train_cfg with an assigner, which finds the priors "
            'with objects; use the config that the teacher was trained with',
        )

    @property
    def head(self) -> Any:
        """The teacher's head."""
        return self._teacher[0].model.get_submodule(self.paths['teacher'].rpartition(':')[2])

    def targets(self, maps: Sequence[Tensor], view: View) -> tuple[list[DenseTargets], Tensor]:
        """Return the :func:`dense_targets` of the teacher's head, of maps of every level."""
        sizes = [(t.shape[-2], t.shape[-1]) for t in maps]
        return dense_targets(self.head, sizes, view.data_samples, maps[0])


def check_shapes(student: HeadMaps, teacher: HeadMaps, what: str, dims: int) -> None:
    """Check that the maps (N, C, H, W) ``what`` of both heads agree from dimension ``dims`` on.

    Raises:
        ConfigError: They do not.
    """
    s, t = ([tuple(x.shape[dims:]) for x in side[what]] for side in (student, teacher))
    ensure(
        s == t,
        'student',
        f"the {what} maps of the student's head {s} and of the teacher's {t} differ; both heads "
        'need the same priors, bins and classes',
    )
