"""Visualization of methods: spatial masks, and differences of student and teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkd.methods.base import Method
from mmkd.models.normalization import denormalize
from mmkd.models.step import Step
from mmkd.utils import isolated_rng

INCHES = 1.7  # width of one image on a sheet
TITLE = 0.2  # height of the title above it, in inches


@dataclass
class MethodRecord:
    """Images, masks and differences of one method in one step.

    Args:
        images: The student's images (N, H, W, 3), uint8 RGB.
        masks: Spatial masks (N, M, H_l, W_l) of L levels, or none.
        differences: Mean squared difference of student and teacher (N, H_l, W_l) at L levels, or
            none.
    """

    images: np.ndarray
    masks: list[Tensor]
    differences: list[Tensor]

    def areas(self) -> dict[str, float]:
        """Return the batch mean of every mask, named by level and mask."""
        return {
            f'area_level{level}_mask{m}': float(area)
            for level, masks in enumerate(self.masks)
            for m, area in enumerate(masks.mean((0, 2, 3)))
        }


@dataclass
class Observer:
    """Collects in ``seen`` a record of each method that has masks or compares feature maps."""

    preprocessor: Any
    seen: dict[str, MethodRecord] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self, step: Step, methods: Mapping[str, Method]) -> None:
        """Record the masks of the methods and the differences of the compared feature maps."""
        for name, method in methods.items():
            student, teacher = step.tensors(method)
            teacher = method.simulated(teacher, step.view)
            with isolated_rng():  # masks may be random; training must not change
                masks = [m.cpu() for m in method.masks(student, teacher, step.view)]
                pairs = method.compared(student, teacher, step.view)
            differences = [(t - s).square().mean(1).cpu() for s, t in pairs]
            if masks or differences:
                images = denormalize(step.view.inputs, self.preprocessor)
                self.seen[name] = MethodRecord(images, masks, differences)


def draw_sheet(record: MethodRecord, index: int) -> np.ndarray:
    """Draw the masks and differences of one image, one row per level.

    Masks have the fixed scale 0..1, so collapsed masks are recognizable; a difference has the
    scale of its level, whose maximum is in the title.

    Returns:
        uint8 RGB (H, W, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image = record.images[index]
    rows = max(len(record.masks), len(record.differences))
    first = int(bool(record.differences))
    columns = 1 + first + max((m.shape[1] for m in record.masks), default=0)
    height = INCHES * image.shape[0] / image.shape[1] + TITLE
    figure = Figure(figsize=(INCHES * columns, height * rows))
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.005, 0, 0.995, 1 - TITLE / height / rows, 0.03, TITLE / height)
    for axes in grid.flat:
        axes.axis('off')
    for level in range(rows):
        overlay(grid[level, 0], image, None, f'level {level}')
        if level < len(record.differences):
            difference = record.differences[level][index]
            top = float(difference.max())
            overlay(grid[level, 1], image, difference, f'difference, 0..{top:.2g}', top)
        for m, mask in enumerate(record.masks[level][index] if level < len(record.masks) else ()):
            title = f'mask {m}, area {float(mask.mean()):.2f}'
            overlay(grid[level, 1 + first + m], image, mask, title)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def overlay(axes: Any, image: np.ndarray, heat: Tensor | None, title: str, top: float = 1) -> None:
    """Show an image under a map (H, W) of values 0..``top``, cell by cell."""
    axes.imshow(image)
    if heat is not None:
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        axes.imshow(
            heat.numpy(), cmap='turbo', vmin=0, vmax=top or 1, alpha=0.6, extent=extent,
            interpolation='nearest',
        )  # fmt: skip
    axes.set_title(title, fontsize=6, pad=2)
