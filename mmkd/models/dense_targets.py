"""What a dense head of mmdet should answer where: the targets of its own assigner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmkd.utils import ConfigError


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
    """

    priors: Tensor
    labels: Tensor
    weights: Tensor
    boxes: Tensor
    positive: Tensor


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
        The targets of every level, and the number of positives by which the head normalises its
        own loss: at least 1, the mean over the processes.
    """
    instances = [sample.gt_instances for sample in samples]
    ignored = [getattr(sample, 'ignored_instances', None) for sample in samples]
    metas = [sample.metainfo for sample in samples]
    count = len(instances)
    if hasattr(head, 'get_anchors'):
        anchors, valid = head.get_anchors(sizes, metas, device=like.device)
        priors = [level.to(like).repeat(count, 1) for level in anchors[0]]
        targets = head.get_targets(
            anchors, valid, instances, metas, batch_gt_instances_ignore=ignored
        )
        # Some heads put the anchors in front.
        labels, weights, boxes, _, positives = targets[-5:]
        flat = [
            (lab.flatten(), w.flatten(), b.flatten(0, 1))
            for lab, w, b in zip(labels, weights, boxes)
        ]
    else:
        points = head.prior_generator.grid_priors(sizes, dtype=like.dtype, device=like.device)
        priors = [level.repeat(count, 1) for level in points]
        labels, boxes = head.get_targets(points, instances)
        flat = [(lab, torch.ones_like(lab), b) for lab, b in zip(labels, boxes)]
        positives = sum((lab < head.num_classes).sum() for lab, _, _ in flat)
    levels = [
        DenseTargets(p, lab, w.to(like), b.to(like), (lab >= 0) & (lab < head.num_classes))
        for p, (lab, w, b) in zip(priors, flat)
    ]
    number = torch.as_tensor(positives, dtype=like.dtype, device=like.device)
    all_reduce(number, op='mean')
    return levels, number.clamp(min=1)


def check_head(head: nn.Module, key: str) -> None:
    """Check that a teacher's head can assign objects to its priors.

    Raises:
        ConfigError: It is no dense head, or its config has no ``train_cfg`` with an assigner.
    """
    if not hasattr(head, 'prior_generator') or not hasattr(head, 'get_targets'):
        raise ConfigError(key, f'{type(head).__name__} is no dense detection head')
    if hasattr(head, 'get_anchors') and not hasattr(head, 'assigner'):
        raise ConfigError(
            key,
            "the teacher's config has no model.train_cfg with an assigner, which says where "
            'the objects are',
        )
