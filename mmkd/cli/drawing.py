"""Pictures of labeled images, for the tools.

One function draws the data samples of mmdet, mmseg and mmpretrain, small images included: their
own visualizers write text in pixels of the image, and 32-pixel images have no room for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmkd.mixers import View

IGNORE = 255  # label of pixels without a class
BORDER = '#ffffff'


class Palette:
    """Names and colors of the classes of a data set, from its ``metainfo``."""

    def __init__(self, metainfo: Any) -> None:
        self.classes = list(metainfo.get('classes') or ())
        self._colors = metainfo.get('palette')

    def name(self, label: int) -> str:
        """Return the name of a class."""
        return str(self.classes[label]) if 0 <= label < len(self.classes) else str(label)

    def color(self, label: int) -> tuple[float, float, float]:
        """Return the color of a class, each channel in 0..1."""
        if self._colors is not None and label < len(self._colors):
            red, green, blue = self._colors[label]
            return red / 255, green / 255, blue / 255
        import matplotlib

        return matplotlib.colormaps['tab20'](label % 20)[:3]


def draw_sample(
    axes: Axes,
    image: np.ndarray,
    sample: Any,
    palette: Palette,
    side: str = 'gt',
    score: float = 0.3,
) -> None:
    """Draw an image with its boxes, masks, label map or class.

    Args:
        axes: Axes to draw in.
        image: uint8 RGB, (H, W, 3).
        sample: A data sample of mmdet, mmseg or mmpretrain. None draws the image alone.
        palette: Palette of the data set.
        side: ``'gt'`` for the labels, ``'pred'`` for the predictions. Defaults to ``'gt'``.
        score: Predicted boxes with a smaller score are omitted, and so are those that overlap a
            box of any class with a greater one. Defaults to 0.3.
    """
    axes.imshow(image, interpolation='nearest')
    height, width = image.shape[:2]
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if sample is None:
        return
    if f'{side}_sem_seg' in sample:
        draw_label_map(axes, sample.get(f'{side}_sem_seg').data, palette)
    if side == 'gt' and 'ignored_instances' in sample:
        draw_instances(axes, sample.ignored_instances, palette, ignored=True)
    if f'{side}_instances' in sample:
        instances = sample.get(f'{side}_instances')
        if 'scores' in instances:
            instances = instances[instances.scores > score]
            instances = instances[most_confident(instances.bboxes, instances.scores)]
        draw_instances(axes, instances, palette)
    if f'{side}_score' in sample or f'{side}_label' in sample:
        draw_class(axes, sample, palette, side)


def most_confident(boxes: Tensor, scores: Tensor, iou: float = 0.5) -> Tensor:
    """Return the indices (M,) of the boxes that overlap no box with a greater score.

    Detectors suppress boxes per class, so that one object may have several. ``boxes`` are corners
    x1, y1, x2, y2 in pixels, (N, 4). The most confident box is the last one, to be drawn on top.
    """
    from mmcv.ops import nms

    if not len(boxes):
        return torch.zeros(0, dtype=torch.long)
    return nms(boxes.float().cpu(), scores.float().cpu(), iou)[1].flip(0)


def draw_instances(axes: Axes, instances: Any, palette: Palette, ignored: bool = False) -> None:
    """Draw boxes (dashed gray if ignored) and outlines of masks."""
    from matplotlib.patches import Rectangle

    boxes = instances.bboxes
    boxes = (boxes if isinstance(boxes, Tensor) else boxes.tensor).cpu().numpy()
    labels = instances.labels.tolist() if 'labels' in instances else [0] * len(boxes)
    height = axes.get_ylim()[0]
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        color: Any = '#bbbbbb' if ignored else palette.color(labels[i])
        line = dict(ec=color, lw=1.5, ls='--' if ignored else '-')
        axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, **line))
        text = 'ignored' if ignored else palette.name(labels[i])
        if 'scores' in instances:
            text += f' {float(instances.scores[i]):.2f}'
        axes.text(
            x1, y1, text, fontsize=6, color='white', clip_on=True,
            va='bottom' if y1 > 0.06 * height else 'top',
            bbox=dict(facecolor=color, edgecolor='none', pad=0.6, alpha=0.85),
        )  # fmt: skip
    if 'masks' in instances and len(boxes):
        masks = instances.masks
        maps = masks.cpu().numpy() if isinstance(masks, Tensor) else masks.to_ndarray()
        for mask, label in zip(maps, labels):
            if mask.any() and not mask.all():
                axes.contour(mask.astype(float), [0.5], colors=[palette.color(label)], linewidths=1)


def draw_label_map(axes: Axes, labels: Tensor, palette: Palette) -> None:
    """Overlay an image with a label map (1, H, W); ignored pixels are black."""
    values = labels.squeeze(0).cpu().numpy()
    overlay = np.zeros((*values.shape, 4))
    for label in np.unique(values).tolist():
        if label == IGNORE:
            overlay[values == label] = 0, 0, 0, 0.8
        elif palette.name(label) != 'background':
            overlay[values == label] = *palette.color(label), 0.55
    axes.imshow(overlay, interpolation='nearest')


def draw_class(axes: Axes, sample: Any, palette: Palette, side: str) -> None:
    """Write the class, or the three largest soft labels, under an image."""
    known = sample.get('gt_label').tolist() if 'gt_label' in sample else None
    color = 'black'
    if side == 'pred':
        label = int(sample.pred_label.flatten()[0])
        text = f'{palette.name(label)} {float(sample.pred_score.max()):.2f}'
        color = 'black' if known is None else 'green' if label in known else 'crimson'
    elif 'gt_score' in sample:
        top = sample.gt_score.cpu().topk(min(3, len(sample.gt_score)))
        pairs = zip(top.values.tolist(), top.indices.tolist())
        text = '\n'.join(f'{value:.2f} {palette.name(i)}' for value, i in pairs if value > 0.005)
    else:
        text = ', '.join(palette.name(i) for i in known or ())
    axes.set_xlabel(text, fontsize=7, color=color)


def draw_borders(axes: Axes, view: View, index: int) -> None:
    """Draw the borders between the parts of one mixed image; without regions there are none."""
    from matplotlib.collections import LineCollection

    if view.parts and view.regional:
        masks = torch.stack([part.weight[index, 0] for part in view.parts])
        owner = masks.argmax(0).cpu().numpy()
    elif view.pairs is not None:  # cells of boxes, which no part describes
        owner = view.pairs.swapped[index, 0].cpu().numpy()
    else:
        return
    ys, xs = np.nonzero(owner[:, 1:] != owner[:, :-1])
    lines = [((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)) for y, x in zip(ys, xs)]
    ys, xs = np.nonzero(owner[1:] != owner[:-1])
    lines += [((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)) for y, x in zip(ys, xs)]
    axes.add_collection(LineCollection(lines, colors='black', linewidths=2.2))
    axes.add_collection(LineCollection(lines, colors=BORDER, linewidths=1.1))


def format_sources(view: View, index: int) -> str:
    """Return a text with the sources of one mixed image."""
    if view.hard is not None and not (view.parts and view.shares()[1][index] > 0):
        return 'augmented' if bool(view.hard[index]) else 'not augmented'
    if not view.parts and view.pairs is not None:
        return f'{float(view.pairs.swapped[index].float().mean()):.0%} from objects of other images'
    shares: dict[int, float] = {}
    for part, share in zip(view.parts, view.shares()):
        source = int(part.source[index])
        shares[source] = shares.get(source, 0.0) + float(share[index])
    shown = [f'{share:.0%} image {source}' for source, share in shares.items() if share > 0]
    return ' + '.join(shown) if len(shown) > 1 else 'not mixed'


def class_legend(figure: Any, palette: Palette) -> None:
    """Add a legend with the colors of the classes below a figure."""
    from matplotlib.patches import Patch

    names = [(i, name) for i, name in enumerate(palette.classes) if name != 'background']
    if names:
        handles = [Patch(color=palette.color(i), label=name) for i, name in names]
        place = dict(loc='outside lower center', ncols=min(len(names), 8), fontsize=8)
        figure.legend(handles=handles, **place)
