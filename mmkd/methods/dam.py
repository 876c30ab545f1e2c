"""DAM: distill where teacher and student detect objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmkd.functional import mimic_loss, pad_boxes
from mmkd.methods.detection import objects
from mmkd.methods.plugins import Region
from mmkd.registry import MODELS
from mmkd.utils import ensure, find_head, integer, non_negative, one_of, positive
from mmkd.view import View

if TYPE_CHECKING:
    from mmkd.methods.base import Method

PRIOR_BIAS = -2.19  # of the heatmap: σ(-2.19) = 0.1, as in CenterNet
SIZE_WEIGHT = 0.1  # as in CenterNet

# mmdet's CenterNetHead has the same targets and losses, one object at a time with a wait for the
# device for each. These functions take all objects of a batch at once: boxes (N, B, 4) as x1, y1,
# x2, y2 in locations of the map, and `present` (N, B), which of them are not padding.


def gaussian_radius(sizes: Tensor, min_overlap: float = 0.3) -> Tensor:
    """Return how far (...) both corners of boxes with sides (..., 2) may move at that IoU or more.

    The smallest of three radii: one corner inside and one outside, both inside, both outside.

    Source: Law & Deng, "CornerNet", ECCV 2018, with the roots of the quadratic equations corrected
    as in mmdet.
    """
    total, area = sizes.sum(-1), sizes.prod(-1)
    radii = []
    for a, b, c, sign in (
        (1.0, -total, (1 - min_overlap) / (1 + min_overlap) * area, -1),
        (4.0, -2 * total, (1 - min_overlap) * area, -1),
        (4 * min_overlap, 2 * min_overlap * total, (min_overlap - 1) * area, 1),
    ):
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        radii.append((-b + sign * root) / (2 * a))
    return torch.stack(radii).amin(0)


def center_cells(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the location (..., 2), as column and row, of the center of a box (..., 4)."""
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    last = torch.tensor((size[1] - 1, size[0] - 1), device=boxes.device)
    return centers.floor().long().clamp(min=0).minimum(last)


def center_heatmap(
    boxes: Tensor, labels: Tensor, present: Tensor, num_classes: int, size: tuple[int, int]
) -> Tensor:
    """Draw every object as a Gaussian around the location of its center, classes apart.

    ``Y = max over the objects of exp(-(dx² + dy²) / 2σ²)`` within a square of the integer radius r
    of :func:`gaussian_radius` around the location, ``σ = (2r + 1) / 6``.

    Returns:
        Heatmaps (N, K, H, W) from 0 to 1; exactly 1 at centers.
    """
    cells = center_cells(boxes, size)  # (N, B, 2)
    radius = gaussian_radius((boxes[..., 2:] - boxes[..., :2]).clamp(min=0)).floor()  # (N, B)
    bells = []
    for axis, length in ((1, size[0]), (0, size[1])):
        distance = torch.arange(length, device=boxes.device) - cells[..., axis, None]
        sigma = (2 * radius[..., None] + 1) / 6
        bell = (-distance.square() / (2 * sigma.square())).exp()
        bells.append(torch.where(distance.abs() <= radius[..., None], bell, 0))
    heat = bells[0][..., :, None] * bells[1][..., None, :] * present[..., None, None]
    heat = heat.flatten(2)  # (N, B, H·W)
    maps = heat.new_zeros(len(heat), num_classes, heat.shape[2])
    index = labels.clamp(0, num_classes - 1)[..., None].expand_as(heat)
    return maps.scatter_reduce(1, index, heat, 'amax').unflatten(2, size)


def center_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of a heatmap, of logits and targets Y (N, K, H, W), summed over everything.

    ``-Σ [Y = 1: (1 - p)² log p; else: (1 - Y)⁴ p² log(1 - p)]``, p = σ(logits).
    """
    p = logits.sigmoid()
    positives = (1 - p).square() * F.logsigmoid(logits)
    negatives = (1 - heat) ** 4 * p.square() * F.logsigmoid(-logits)
    return -torch.where(heat == 1, positives, negatives).sum()


def values_at(maps: Tensor, index: Tensor) -> Tensor:
    """Return the values (N, B, C) of maps (N, C, H, W) at flat locations (N, B)."""
    index = index[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)


def center_regression(prediction: Tensor, cells: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Sum of absolute differences of maps (N, 2, H, W), at locations (N, B, 2), to (N, B, 2)."""
    values = values_at(prediction, cells[..., 1] * prediction.shape[-1] + cells[..., 0])
    return ((values - target).abs() * present[..., None]).sum()


def peak_boxes(heat: Tensor, sizes: Tensor, offsets: Tensor, top: int) -> Tensor:
    """Decode boxes at the highest peaks: locations that none of their eight neighbors exceeds.

    Args:
        heat: Heatmap (N, K, H, W); a peak is one of its maximum over the classes.
        sizes: Width and height (N, 2, H, W).
        offsets: Position of the center within its location (N, 2, H, W), x and y.
        top: Number of peaks of an image, at most.

    Returns:
        Boxes (N, min(top, H·W), 4); each has at least the side of one location. An image with fewer
        peaks gets the box of its highest one again.
    """
    best = heat.amax(1, keepdim=True)
    is_peak = best == F.max_pool2d(best, 3, stride=1, padding=1)
    scores = torch.where(is_peak, best, -1).flatten(1)
    values, index = scores.topk(min(top, scores.shape[1]), dim=1)  # (N, B)
    index = torch.where(values >= 0, index, index[:, :1])
    width = heat.shape[-1]
    cells = torch.stack((index % width, index.div(width, rounding_mode='floor')), 2)  # (N, B, 2)
    half = values_at(sizes, index).clamp(min=1) / 2
    center = cells + values_at(offsets, index)
    return torch.cat((center - half, center + half), 2)


def box_area(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a mask (N, 1, H, W): 1 at the locations that one of the boxes overlaps, else 0."""
    inside = []
    for axis, length in ((1, size[0]), (0, size[1])):
        start = torch.arange(length, device=boxes.device)
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        inside.append((start + 1 > low) & (start < high))  # (N, B, H), (N, B, W)
    touched = inside[0][..., :, None] & inside[1][..., None, :]
    return touched.any(1, keepdim=True).to(boxes)


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
        """Return heatmap logits (N, K, H, W), sizes and offsets (N, 2, H, W), in locations."""
        x = self.shared(x)
        return self.heatmap(x), self.size(x), self.offset(x)


@MODELS.register_module()
class DAM(Region):
    """Detect objects in both models' maps, and compare the maps there.

    Experimental, "SoKD-style". At each level one head reads the teacher's map and, with the same
    parameters, the aligned student's: heatmap Ŷ, size and offset as in CenterNet. It learns from
    the ground-truth boxes with the student, by the student's optimizer:

    ``L_DAM = 1/N Σ [focal(Ŷ, Y) + 0.1 |size| + |offset|]``, N the number of objects,

    the mean over both models. Boxes are decoded at its highest peaks; in the area A of both models'
    boxes the maps are compared once more:

    ``L = L_method + λ1 Σ A (F_t - φ(F_s))² / (C Σ A) + λ3 L_DAM``, sum over levels.

    No gradient reaches A, nor the teacher. The method's weight scales all of it.

    Source: Shen et al., "Student-Oriented Teacher Knowledge Refinement for Knowledge
    Distillation", arXiv 2409.18785, from its abstract and captions. What is in all likelihood the
    authors' code for classification: FabienCode/mdistiller@515d2c5. The head's losses: Zhou et al.,
    "Objects as Points", 2019.

    Args:
        num_classes: Number of classes K. Defaults to None: that of the student's box head.
        area: ``'union'`` or ``'intersection'`` of both models' boxes, or ``'soft'``, the larger
            of both heatmaps at each location. Defaults to ``'union'``.
        peaks: Boxes that are decoded from each heatmap. Defaults to 10.
        channels: Hidden channels of the head. Defaults to 64.
        region_weight: Weight λ1. Defaults to 1.0.
        head_weight: Weight λ3, positive, or the head learns nothing. Defaults to 0.1.

    Deviations: formulas and numbers are ours. The code found trains its head without boxes, by the
    agreement of the outputs for both maps alone, takes regions from the student's peaks, sums their
    masks, and averages the masked difference over all cells. Here every level has a head of its
    own, and every object is on every level. The student learns from L_DAM, too, as from an
    auxiliary head. Without boxes (classification, segmentation) the head has no targets; it is
    refused.
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
        self.num_classes = integer(1, optional=True, num_classes=num_classes)
        self.area = one_of(('union', 'intersection', 'soft'), area=area)
        self.peaks = integer(1, peaks=peaks)
        self.channels = integer(1, channels=channels)
        self.region_weight = non_negative(region_weight=region_weight)
        self.head_weight = positive(head_weight=head_weight)

    def build(self, method: Any, model: nn.Module, student: Any, teacher: Any, view: View) -> None:
        """Create a head for each level."""
        with torch.no_grad():
            pairs = method.compared(student, teacher, view)
        ensure(
            pairs,
            '',
            f'{type(method).__name__} aligns no maps (N, C, H, W) of both models; wrap a feature '
            'method, such as mmkd.FeatureMimic',
        )
        if self.num_classes is None:
            found: Any = find_head(model) or ('', None)
            text = f'{type(model).__name__} has no box head; DAM is for detectors'
            ensure(found[0].endswith('bbox_head'), 'num_classes', text)
            self.num_classes = found[1].num_classes
        classes = self.num_classes
        self.heads = nn.ModuleList(CenterHead(t.shape[1], self.channels, classes) for _, t in pairs)

    def forward(self, method: Method, student: Any, teacher: Any, view: View) -> dict[str, Tensor]:
        """Return ``dam`` and, if it has a weight, ``region``."""
        found = objects(view)
        pixels, present = pad_boxes([image.bboxes for image in found])
        longest = present.new_zeros(pixels.shape[1], dtype=torch.long)
        labels = pad_sequence([*(image.labels for image in found), longest], batch_first=True)[:-1]
        number = present.sum().to(pixels)
        all_reduce(number, op='mean')
        number = number.clamp(min=1)
        region = head_loss = pixels.new_zeros(())
        shares = []
        for head, (s, t) in zip(self.heads, method.compared(student, teacher, view)):
            outputs = [head(x) for x in (s, t)]
            losses = self.losses(outputs, pixels, labels, present, view)
            head_loss = head_loss + (losses[0] + losses[1]) / (2 * number)
            if self.region_weight:
                area = self.mutual_area(outputs)  # (N, 1, H, W)
                region = region + mimic_loss(s, t, area)
                shares.append(area.mean())
        if not self.region_weight:
            return dict(dam=self.head_weight * head_loss)
        self.monitored = dict(mutual_area=torch.stack(shares).mean())
        return dict(region=self.region_weight * region, dam=self.head_weight * head_loss)

    def losses(
        self, outputs: list[Any], pixels: Tensor, labels: Tensor, present: Tensor, view: View
    ) -> list[Tensor]:
        """Return the sum of the head's losses over the batch, for each of its outputs."""
        like = outputs[0][0]
        height, width = size = tuple(like.shape[-2:])
        rows, columns = view.inputs.shape[-2:]
        boxes = pixels.to(like) * like.new_tensor((width / columns, height / rows) * 2)
        heat = center_heatmap(boxes, labels, present, self.num_classes or 1, size)
        cells = center_cells(boxes, size)
        sizes = boxes[..., 2:] - boxes[..., :2]
        offsets = (boxes[..., :2] + boxes[..., 2:]) / 2 - cells
        return [
            center_focal_loss(heatmap, heat)
            + SIZE_WEIGHT * center_regression(extent, cells, sizes, present)
            + center_regression(offset, cells, offsets, present)
            for heatmap, extent, offset in outputs
        ]

    @torch.no_grad()
    def mutual_area(self, outputs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Return the area A (N, 1, H, W) of the head's boxes in both models' maps."""
        heats = [heatmap.sigmoid() for heatmap, _, _ in outputs]
        if self.area == 'soft':
            return torch.maximum(*heats).amax(1, keepdim=True)
        size = tuple(heats[0].shape[-2:])
        areas = [
            box_area(peak_boxes(heat, sizes, offsets, self.peaks), size)
            for heat, (_, sizes, offsets) in zip(heats, outputs)
        ]
        return torch.maximum(*areas) if self.area == 'union' else torch.minimum(*areas)
