"""DAM: distil where teacher and student see objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmkd.functional import (
    box_area,
    center_cells,
    center_focal_loss,
    center_heatmap,
    center_regression,
    mimic_loss,
    pad_boxes,
    peak_boxes,
)
from mmkd.methods.detection import objects
from mmkd.methods.plugins import Region
from mmkd.registry import MODELS
from mmkd.utils import ConfigError
from mmkd.view import View

if TYPE_CHECKING:
    from mmkd.methods.base import Method

AREAS = ('union', 'intersection', 'soft')
PRIOR_BIAS = -2.19  # of the heatmap: σ(-2.19) = 0.1, as in CenterNet
SIZE_WEIGHT = 0.1  # as in CenterNet


class CenterHead(nn.Module):
    """A shared 3×3 convolution, and a 1×1 convolution for heatmap, size and offset each.

    Args:
        channels: Channels C of the maps.
        hidden: Channels between the convolutions.
        num_classes: Number of classes K.
    """

    def __init__(self, channels: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU())
        self.heatmap = nn.Conv2d(hidden, num_classes, 1)
        self.size = nn.Conv2d(hidden, 2, 1)
        self.offset = nn.Conv2d(hidden, 2, 1)
        nn.init.constant_(self.heatmap.bias, PRIOR_BIAS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return heatmap logits (N, K, H, W), sizes and offsets (N, 2, H, W) of a map, in cells."""
        x = self.shared(x)
        return self.heatmap(x), self.size(x), self.offset(x)


@MODELS.register_module()
class DAM(Region):
    """Look for objects in both models' maps, and compare the maps there.

    Experimental, "SoKD-style". At each level one head reads the teacher's map and, with the same
    parameters, the aligned student's: heatmap Ŷ, size and offset as in CenterNet. It learns from
    the ground-truth boxes with the student, by the student's optimizer:

    ``L_DAM = 1/N Σ [focal(Ŷ, Y) + 0.1 |size| + |offset|]``, N the number of objects,

    the mean over both models. Boxes are read from its highest peaks, and where they lie, in the
    area A of both models' boxes, the maps are compared once more:

    ``L = L_method + λ1 Σ A (F_t - φ(F_s))² / (C Σ A) + λ3 L_DAM``, sum over levels.

    No gradient reaches A, nor the teacher. All of it counts by the method's weight.

    Source: Shen et al., "Student-Oriented Teacher Knowledge Refinement for Knowledge
    Distillation", arXiv 2409.18785. Only its abstract and captions are known. The head's losses:
    Zhou et al., "Objects as Points", 2019.

    Args:
        num_classes: Number of classes K. Defaults to None: that of the student's box head.
        area: ``'union'`` or ``'intersection'`` of both models' boxes, or ``'soft'``, the larger
            of both heatmaps in each cell. Defaults to ``'union'``.
        peaks: Boxes that are read from each heatmap. Defaults to 10.
        channels: Channels inside of the head. Defaults to 64.
        region_weight: Weight λ1. Defaults to 1.0.
        head_weight: Weight λ3. Defaults to 0.1.

    Deviations: formulas and numbers are ours. Every level has a head of its own, and every object
    is on every level. The student learns from L_DAM, too, as from an auxiliary head. Without boxes
    (classification, segmentation) the head would have only itself to agree with; it is refused.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        area: str = 'union',
        peaks: int = 10,
        channels: int = 64,
        region_weight: float = 1.0,
        head_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.area = area
        self.peaks = peaks
        self.channels = channels
        self.region_weight = region_weight
        self.head_weight = head_weight
        if self.area not in AREAS:
            raise ConfigError('area', f'use one of {", ".join(map(repr, AREAS))}')
        for name in ('peaks', 'channels'):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(name, f'is at least 1, not {value!r}')
        if not self.region_weight >= 0:
            raise ConfigError('region_weight', f'is not negative, unlike {self.region_weight}')
        if not self.head_weight > 0:
            raise ConfigError(
                'head_weight', f'is positive, or the head learns nothing: {self.head_weight}'
            )

    def build(
        self, method: Method, model: nn.Module, student: Any, teacher: Any, view: View
    ) -> None:
        """Create a head for each level."""
        with torch.no_grad():
            pairs = method.compared(student, teacher, view)
        if not pairs:
            raise ConfigError(
                '',
                f'{type(method).__name__} aligns no maps (N, C, H, W) of both models; wrap a '
                'feature method, such as mmkd.FeatureMimic',
            )
        classes = self.num_classes or classes_of(model, 'num_classes')
        self.heads = nn.ModuleList(CenterHead(t.shape[1], self.channels, classes) for _, t in pairs)
        self.num_classes = classes

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``dam`` and, if it has a weight, ``region``."""
        found = objects(view)
        pixels, present = pad_boxes([image.bboxes for image in found])
        most = pixels.shape[1]
        labels = pad_sequence(
            [*(image.labels for image in found), present.new_zeros(most, dtype=torch.long)],
            batch_first=True,
        )[:-1]
        number = present.sum().to(pixels)
        all_reduce(number, op='mean')
        number = number.clamp(min=1)
        region = head_loss = pixels.new_zeros(())
        shares = []
        for head, (s, t) in zip(self.heads, method.compared(student, teacher, view)):
            outputs = [head(x) for x in (s, t)]
            targets = self.targets(pixels, labels, present, view, s)
            losses = [self.loss(output, targets, present) for output in outputs]
            head_loss = head_loss + (losses[0] + losses[1]) / (2 * number)
            if self.region_weight:
                area = self.mutual_area(outputs)  # (N, 1, H, W)
                region = region + mimic_loss(s, t, area)
                shares.append(area.mean())
        if not self.region_weight:
            return dict(dam=self.head_weight * head_loss)
        self.monitored = dict(mutual_area=torch.stack(shares).mean())
        return dict(region=self.region_weight * region, dam=self.head_weight * head_loss)

    def targets(
        self, pixels: Tensor, labels: Tensor, present: Tensor, view: View, like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return heatmap (N, K, H, W), cells, sizes and offsets (N, B, 2) of the objects."""
        height, width = size = tuple(like.shape[-2:])
        rows, columns = view.inputs.shape[-2:]
        scale = like.new_tensor((width / columns, height / rows) * 2)
        boxes = pixels.to(like) * scale
        heat = center_heatmap(boxes, labels, present, self.num_classes or 1, size)
        cells = center_cells(boxes, size)
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        return heat, cells, boxes[..., 2:] - boxes[..., :2], centers - cells

    def loss(
        self, output: tuple[Tensor, ...], targets: tuple[Tensor, ...], present: Tensor
    ) -> Tensor:
        """Return the sum of the head's losses over a batch."""
        heatmap, size, offset = output
        heat, cells, sizes, offsets = targets
        return (
            center_focal_loss(heatmap, heat)
            + SIZE_WEIGHT * center_regression(size, cells, sizes, present)
            + center_regression(offset, cells, offsets, present)
        )

    @torch.no_grad()
    def mutual_area(self, outputs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Return the area A (N, 1, H, W) of what the head reads from both models."""
        heats = [heatmap.sigmoid() for heatmap, _, _ in outputs]
        if self.area == 'soft':
            return torch.maximum(*heats).amax(1, keepdim=True)
        size = tuple(heats[0].shape[-2:])
        areas = [
            box_area(peak_boxes(heat, sizes, offsets, self.peaks), size)
            for heat, (_, sizes, offsets) in zip(heats, outputs)
        ]
        return torch.maximum(*areas) if self.area == 'union' else torch.minimum(*areas)


def classes_of(model: nn.Module, key: str) -> int:
    """Return the number of classes of a detector.

    Raises:
        ConfigError: It has no box head that says.
    """
    head = getattr(model, 'bbox_head', None)
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', head)
    head = head[0] if isinstance(head, nn.ModuleList) else head  # a cascade
    number = getattr(head, 'num_classes', None)
    if number is None:
        raise ConfigError(
            key,
            f'{type(model).__name__} has no box head that says; DAM learns from boxes, so it is '
            'for detectors',
        )
    return int(number)
