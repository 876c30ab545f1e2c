"""Draw docs/images/step.png: one training step, with the images and maps of a real one.

Two generated images, PatchMix, and two untrained networks, whose maps are shown as their mean
magnitude: ``python tools/dev/draw_step.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from mmkd.datasets.shapes_scene import draw_scene
from mmkd.mixers import PatchMix

OUT = Path(__file__).resolve().parents[2] / 'docs' / 'images' / 'step.png'
SIZE = 160
BLUE, ORANGE, GREEN, GRAY = '#dbe7f5', '#fbe3cf', '#dcefdc', '#eeeeee'


def network(seed: int) -> nn.Module:
    """Return an untrained network of stride 8."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.InstanceNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


@torch.no_grad()
def run_step() -> dict[str, Tensor]:
    """Return the images (2, 3, H, W) and the maps (2, H / 8, W / 8) of one step."""
    images = [torch.from_numpy(draw_scene(0, 'train', i, SIZE).image.copy()) for i in (6, 7)]
    inputs = torch.stack(images).permute(0, 3, 1, 2).float() / 255
    labels = PixelData(data=torch.zeros(1, SIZE, SIZE, dtype=torch.long))
    samples = [BaseDataElement(gt_sem_seg=labels) for _ in images]
    view = PatchMix('permutation', grid=(2, 2)).mix(inputs, samples, iteration=1)
    teacher = network(0)(view.teacher_inputs)
    maps = dict(teacher=teacher, simulated=view.simulate(teacher), student=network(1)(view.inputs))
    return dict(clean=inputs, mixed=view.inputs, **{k: v.mean(1) for k, v in maps.items()})


class Canvas:
    """A figure of 100 × 53 units, the origin at the bottom left."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(11, 5.83), dpi=130)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 100), ylim=(0, 53))
        self.axes.axis('off')

    def text(self, x: float, y: float, text: str, size: float = 9, **style: str) -> None:
        """Write centered text."""
        self.axes.text(x, y, text, size=size, ha='center', va='center', **style)

    def box(self, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
        """Draw a box around its center; the first line of the text is its title."""
        corner = (x - width / 2, y - height / 2)
        style = dict(boxstyle='round,pad=0,rounding_size=0.8', fc=color, ec='#444444', lw=0.8)
        self.axes.add_patch(FancyBboxPatch(corner, width, height, **style))
        title, _, rest = text.partition('\n')
        lines = rest.count('\n') + 1 if rest else 0
        self.text(x, y + lines * 0.95, title, 10, weight='bold')
        if rest:
            self.text(x, y - 1.1, rest, 8)

    def pair(self, x: float, y: float, side: float, tensor: Tensor, label: str) -> None:
        """Draw two images or maps, one above the other, with a label below."""
        for item, bottom in zip(tensor, (y + 0.4, y - side - 0.4)):
            inset = self.figure.add_axes((x / 100 - side / 200, bottom / 53, side / 100, side / 53))
            inset.imshow(item.permute(1, 2, 0) if item.ndim == 3 else item, cmap='magma')
            inset.set(xticks=[], yticks=[])
        self.text(x, y - side - 2.2, label, 8)

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Draw a line through points, with a head at the last one."""
        style = dict(lw=1.2, color='#444444')
        self.axes.plot(*zip(*points), ls='--' if dashed else '-', **style)
        head = dict(arrowstyle='->', shrinkA=0, shrinkB=0, **style)
        (x, y), (to_x, to_y) = points[-2:]
        start = (to_x - 0.1 * (to_x > x), to_y - 0.1 * ((to_y > y) - (to_y < y)))
        self.axes.annotate('', points[-1], start, arrowprops=head)

    def number(self, x: float, y: float, number: int) -> None:
        """Draw the number of a stage."""
        self.axes.add_patch(Circle((x, y), 1.25, fc='#333333', ec='none', zorder=5))
        self.axes.text(x, y, str(number), size=8, color='white', ha='center', va='center', zorder=6)


def draw(step: dict[str, Tensor]) -> Figure:
    """Draw the step."""
    c = Canvas()
    c.pair(6, 28, 9.5, step['clean'], 'clean batch')
    c.box(20, 13, 9, 7, 'mixer\ndraw', GREEN)
    c.pair(32, 13, 8, step['mixed'], "student's inputs")
    c.box(48, 13, 14, 9, 'student\nforward and\nits own loss()', BLUE)
    c.pair(66, 13, 8, step['student'], 'student_features')
    c.box(32, 44, 15, 9, 'teacher\nfrozen, no_grad, eval,\nup to the deepest tap', ORANGE)
    c.pair(48, 44, 8, step['teacher'], 'teacher_features')
    c.pair(66, 44, 8, step['simulated'], 'of the mixed batch')
    c.box(88, 28, 18, 9, 'methods\nforward(student, teacher, view)\ndict of scalars', GRAY)
    c.box(88, 5, 18, 6.5, 'sum\nbackward, optimizer', GRAY)
    c.arrow((6, 38.2), (6, 44), (24.2, 44))
    c.arrow((6, 15.6), (6, 13), (15.2, 13))
    c.arrow((24.7, 13), (27.7, 13))
    c.arrow((36.3, 13), (40.7, 13))
    c.arrow((55.3, 13), (61.7, 13))
    c.arrow((39.8, 44), (43.7, 44))
    c.arrow((52.3, 44), (61.7, 44))
    c.text(57, 45.4, 'simulate', 8)
    c.arrow((70.3, 44), (88, 44), (88, 32.7))
    c.arrow((70.3, 13), (82, 13), (82, 23.2))
    c.arrow((88, 23.3), (88, 8.5))
    c.text(92.5, 16, 'losses × weight', 8)
    c.arrow((48, 8.3), (48, 1.2), (75, 1.2), (75, 5), (78.7, 5))
    c.text(53, 5, 'task losses', 8)
    c.arrow((20, 16.7), (20, 28), (57, 28), (57, 43.2), dashed=True)
    c.text(38, 29.4, 'View: the source of every pixel, its weight', 8)
    for number, place in enumerate(
        [(15.5, 16.5), (24.5, 48.5), (41, 17.5), (57, 47.6), (79, 32.5), (79, 8.2)], start=1
    ):
        c.number(*place, number)
    return c.figure


if __name__ == '__main__':
    draw(run_step()).savefig(OUT)
    print(OUT)
