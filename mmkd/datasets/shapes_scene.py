"""Draws one scene of the generated sample data.

Drawing uses integer polygons, elementwise NumPy arithmetic and a seeded PCG64 generator. Resampling
functions of image libraries are avoided: their last bit depends on version and processor.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Alphabetical, because folder-based classification data sets sort their class folders.
CLASSES = ('circle', 'hexagon', 'square', 'star', 'triangle')
CORNERS = (40, 6, 4, 10, 3)
SPLITS = ('train', 'val', 'test')
SUPERSAMPLE = 4  # subpixels per pixel side, for smooth outlines
MIN_PIXELS = 50  # smallest visible part of an object, in pixels
MIN_VISIBLE = 0.35  # smallest visible fraction of an object
MAX_OBJECTS = 8


@dataclass
class Scene:
    """One image and its objects.

    Attributes:
        image: uint8 BGR, (H, W, 3).
        labels: Class index of each object, from back to front.
        masks: bool, (N, H, W), the visible part of each object; no two overlap.
    """

    image: np.ndarray
    labels: list[int]
    masks: np.ndarray

    def boxes(self) -> np.ndarray:
        """Boxes of the visible masks: int64, (N, 4) as x, y, width, height in pixels."""
        boxes = np.zeros((len(self.labels), 4), dtype=np.int64)
        for i, mask in enumerate(self.masks):
            ys, xs = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            boxes[i] = xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1
        return boxes

    def label_map(self) -> np.ndarray:
        """Class index + 1 of each pixel, 0 for the background: uint8, (H, W)."""
        out = np.zeros(self.image.shape[:2], dtype=np.uint8)
        for label, mask in zip(self.labels, self.masks):
            out[mask] = label + 1
        return out


def generator(seed: int, split: str, *numbers: int) -> np.random.Generator:
    """A generator that depends on its arguments alone."""
    return np.random.Generator(np.random.PCG64([seed, SPLITS.index(split), *numbers]))


def value_noise(rng: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """Smooth random texture in 0..1: float64, (size, size), with a grid of ``cell`` pixels."""
    grid = rng.random((size // cell + 2, size // cell + 2))
    pos = (np.arange(size) + 0.5) / cell
    low = pos.astype(np.int64)
    return _bilinear(grid[..., None], low, low + 1, pos - low)[..., 0]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear resize of a square image: uint8, (S, S, 3) to (size, size, 3)."""
    side = image.shape[0]
    pos = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(pos.astype(np.int64), max(side - 2, 0))
    out = _bilinear(image.astype(np.float64), low, np.minimum(low + 1, side - 1), pos - low)
    return (out + 0.5).astype(np.uint8)


def _bilinear(
    values: np.ndarray, low: np.ndarray, high: np.ndarray, frac: np.ndarray
) -> np.ndarray:
    """Interpolate (S, S, C) between the rows and columns ``low`` and ``high``."""
    rows = values[low] * (1 - frac)[:, None, None] + values[high] * frac[:, None, None]
    return rows[:, low] * (1 - frac)[:, None] + rows[:, high] * frac[:, None]


def _color(rng: np.random.Generator, saturation: float, value: float) -> np.ndarray:
    """A color (3,) of random hue, 0..255; saturation and brightness are in 0..1."""
    hue = np.abs((rng.random() * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return 255 * value * (1 - saturation * (1 - np.clip(hue, 0, 1)))


def _stripes(
    rng: np.random.Generator, height: int, width: int, slope: int, periods: tuple[int, int]
) -> np.ndarray:
    """Every other stripe of a random pattern: bool, (height, width, 1)."""
    dx, dy = rng.integers(-slope, slope + 1, size=2)
    period = int(rng.integers(*periods))
    y, x = np.mgrid[:height, :width]
    return ((x * dx + y * dy) % period < period // 2)[..., None]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Pale blended colors, sometimes striped, with loose lines: float64, (size, size, 3)."""
    colors = [_color(rng, 0.3 * rng.random(), 0.15 + 0.7 * rng.random()) for _ in range(3)]
    blend = value_noise(rng, size, int(rng.integers(16, 48)))[..., None]
    canvas = colors[0] * (1 - blend) + colors[1] * blend
    fine = value_noise(rng, size, int(rng.integers(3, 9)))[..., None]
    canvas = canvas + (fine - 0.5) * (20 + 60 * rng.random())
    if rng.random() < 0.5:
        stripes = _stripes(rng, size, size, 4, (20, 90))
        canvas = np.where(stripes, 0.75 * canvas + 0.25 * colors[2], canvas)
    lines = np.zeros((size, size), dtype=np.uint8)
    for number in range(1, int(rng.integers(1, 5)) + 1):
        ends = rng.integers(0, size, size=4).tolist()
        cv2.line(lines, ends[:2], ends[2:], number, thickness=int(rng.integers(1, 4)))
        canvas[lines == number] = _color(rng, 0.8 * rng.random(), rng.random())
    return canvas


def _outline(rng: np.random.Generator, label: int, radius: float) -> np.ndarray:
    """Corners of a rotated, slightly flattened shape around 0, in pixels: float64, (corners, 2)."""
    corners = CORNERS[label]
    angle = np.arange(corners) * (2 * np.pi / corners)
    length = np.full(corners, radius)
    if CLASSES[label] == 'star':
        length[1::2] *= 0.5
    points = np.stack((np.cos(angle) * length, np.sin(angle) * length), axis=1)
    flat, first, last = rng.random(3) * (0.25, 2 * np.pi, 2 * np.pi)
    for turn, stretch in ((first, 1 - flat), (last, 1.0)):
        cos, sin = np.cos(turn), np.sin(turn)
        x = points[:, 0] * cos - points[:, 1] * sin
        y = points[:, 0] * sin + points[:, 1] * cos
        points = np.stack((x * stretch, y), axis=1)
    return points


def _coverage(points: np.ndarray, size: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Rows and columns of a polygon, and the covered fraction of each pixel there, float64."""
    low = np.clip(np.floor(points.min(axis=0)).astype(np.int64), 0, size)
    high = np.clip(np.ceil(points.max(axis=0)).astype(np.int64) + 1, 0, size)
    width, height = (high - low).tolist()
    fine = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), dtype=np.uint8)
    if fine.size:
        cv2.fillPoly(fine, [np.rint((points - low) * SUPERSAMPLE).astype(np.int32)], 1)
    blocks = fine.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE)
    cover = blocks.sum(axis=(1, 3), dtype=np.int64) / SUPERSAMPLE**2
    return (slice(low[1], high[1]), slice(low[0], high[0])), cover


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()))


def has_hole(mask: np.ndarray) -> bool:
    """Whether a mask has a hole, which COCO polygons cannot represent."""
    hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[1]
    return hierarchy is not None and bool((hierarchy[0, :, 3] >= 0).any())


def _paint(rng: np.random.Generator, below: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Paint a random color, shaded and sometimes striped, over a part of the image.

    ``below`` is that part, (rows, columns, 3), and ``cover`` the covered fraction of each pixel,
    (rows, columns).
    """
    height, width = cover.shape
    average = below[cover >= 0.5].mean(axis=0)
    color = average
    while abs(color - average).max() < 60:
        color = _color(rng, 0.5 + 0.5 * rng.random(), 0.35 + 0.65 * rng.random())
    shade = value_noise(rng, max(height, width), int(rng.integers(4, 24)))[:height, :width, None]
    fill = color + (shade - 0.5) * (70 * rng.random())
    if rng.random() < 0.25:
        stripes = _stripes(rng, height, width, 3, (12, 40))
        fill = np.where(stripes, 0.6 * fill + 0.4 * average, fill)
    return below * (1 - cover[..., None]) + fill * cover[..., None]


def draw_scene(seed: int, split: str, index: int, size: int = 160) -> Scene:
    """Draw one scene; the same arguments always give the same scene.

    Args:
        seed: Seed of the data set.
        split: 'train', 'val' or 'test'.
        index: Number of the scene in its split.
        size: Side of the image in pixels. Defaults to 160.

    Returns:
        The scene, with at least one object.
    """
    rng = generator(seed, split, index)
    canvas = _background(rng, size)
    labels: list[int] = []
    masks: list[np.ndarray] = []
    full_areas: list[float] = []
    wanted = int(rng.integers(3, MAX_OBJECTS + 1))
    while not labels or len(labels) < wanted:
        label = int(rng.integers(len(CLASSES)))
        radius = size * 0.055 * (1 + 2.4 * rng.random() ** 2)
        outline = _outline(rng, label, radius)
        points = outline + rng.random(2) * (size - radius) + 0.5 * radius
        where, cover = _coverage(points, size)
        mask = np.zeros((size, size), dtype=bool)
        mask[where] = cover >= 0.5
        visible = [old & ~mask for old in masks] + [mask]
        areas = [*full_areas, _polygon_area(outline)]
        if all(
            part.sum() >= max(MIN_PIXELS, MIN_VISIBLE * area) and not has_hole(part)
            for part, area in zip(visible, areas)
        ):
            canvas[where] = _paint(rng, canvas[where], cover)
            labels.append(label)
            masks, full_areas = visible, areas
        else:
            wanted -= int(rng.random() < 0.1)  # a crowded scene ends with fewer objects
    grain = int(rng.integers(2, 16))
    canvas = canvas + rng.integers(-grain, grain + 1, size=canvas.shape)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return Scene(image, labels, np.stack(masks))
