"""Draws one scene of the generated sample data.

Everything is drawn with integer polygons, elementwise numpy arithmetic and a seeded PCG64
generator. No resampling function of an image library is used: their last bit depends on version
and processor.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Alphabetical, because folder-based classification data sets sort their class folders.
CLASSES = ('circle', 'hexagon', 'square', 'star', 'triangle')
SPLITS = ('train', 'val', 'test')
SUPERSAMPLE = 4  # sub-pixels per pixel side, for smooth outlines
MIN_PIXELS = 50  # smallest visible part of an object, in pixels
MIN_VISIBLE = 0.35  # smallest visible fraction of an object
MAX_OBJECTS = 8


@dataclass
class Scene:
    """One picture with what is in it.

    Attributes:
        image: uint8 BGR, (H, W, 3).
        labels: Class index of each object, from the backmost to the frontmost.
        masks: bool, (N, H, W), the visible part of each object; no two overlap.
    """

    image: np.ndarray
    labels: list[int]
    masks: np.ndarray

    def boxes(self) -> np.ndarray:
        """Extents of the visible masks.

        Returns:
            int64, (N, 4) as x, y, width, height in pixels.
        """
        boxes = np.zeros((len(self.labels), 4), dtype=np.int64)
        for i, mask in enumerate(self.masks):
            ys, xs = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            boxes[i] = xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1
        return boxes

    def label_map(self) -> np.ndarray:
        """Class index + 1 at each pixel, 0 where there is no object.

        Returns:
            uint8, (H, W).
        """
        out = np.zeros(self.image.shape[:2], dtype=np.uint8)
        for label, mask in zip(self.labels, self.masks, strict=True):
            out[mask] = label + 1
        return out


def value_noise(rng: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """Smooth random texture in 0..1: random values on a grid, bilinear in between.

    Args:
        rng: Source of the grid values.
        size: Side of the texture in pixels.
        cell: Grid spacing in pixels.

    Returns:
        float64, (size, size).
    """
    grid = rng.random((size // cell + 2, size // cell + 2))
    pos = (np.arange(size) + 0.5) / cell
    low = pos.astype(np.int64)
    frac = pos - low
    rows = grid[low] * (1 - frac)[:, None] + grid[low + 1] * frac[:, None]
    return rows[:, low] * (1 - frac) + rows[:, low + 1] * frac


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear resize of a square picture.

    Args:
        image: uint8, (S, S, 3).
        size: New side in pixels.

    Returns:
        uint8, (size, size, 3).
    """
    side = image.shape[0]
    pos = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(pos.astype(np.int64), max(side - 2, 0))
    high = np.minimum(low + 1, side - 1)
    frac = pos - low
    pixels = image.astype(np.float64)
    rows = pixels[low] * (1 - frac)[:, None, None] + pixels[high] * frac[:, None, None]
    out = rows[:, low] * (1 - frac)[:, None] + rows[:, high] * frac[:, None]
    return (out + 0.5).astype(np.uint8)


def _colour(rng: np.random.Generator, saturation: float, value: float) -> np.ndarray:
    """A colour of random hue, 0..255.

    Args:
        rng: Source of the hue.
        saturation: 0 (grey) to 1.
        value: Brightness of the strongest channel, 0 to 1.

    Returns:
        float64, (3,).
    """
    hue = np.abs((rng.random() * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return 255 * value * (1 - saturation * (1 - np.clip(hue, 0, 1)))


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Pale blended colours, sometimes striped, with loose lines. float64, (size, size, 3)."""
    colours = [_colour(rng, 0.3 * rng.random(), 0.15 + 0.7 * rng.random()) for _ in range(3)]
    blend = value_noise(rng, size, int(rng.integers(16, 48)))[..., None]
    canvas = colours[0] * (1 - blend) + colours[1] * blend
    fine = value_noise(rng, size, int(rng.integers(3, 9)))[..., None]
    canvas = canvas + (fine - 0.5) * (20 + 60 * rng.random())
    if rng.random() < 0.5:
        dx, dy = rng.integers(-4, 5, size=2)
        period = int(rng.integers(20, 90))
        y, x = np.mgrid[:size, :size]
        stripes = (x * dx + y * dy) % period < period // 2
        canvas = np.where(stripes[..., None], 0.75 * canvas + 0.25 * colours[2], canvas)
    lines = np.zeros((size, size), dtype=np.uint8)
    count = int(rng.integers(1, 5))
    for index in range(count):
        ends = rng.integers(0, size, size=4).tolist()
        cv2.line(lines, ends[:2], ends[2:], index + 1, thickness=int(rng.integers(1, 4)))
        canvas[lines == index + 1] = _colour(rng, 0.8 * rng.random(), rng.random())
    return canvas


def _outline(rng: np.random.Generator, label: int, radius: float) -> np.ndarray:
    """Corners of a turned, slightly flattened shape round 0, in pixels. float64, (corners, 2)."""
    corners = {'circle': 40, 'hexagon': 6, 'square': 4, 'star': 10, 'triangle': 3}[CLASSES[label]]
    angle = np.arange(corners) * (2 * np.pi / corners)
    length = np.full(corners, radius)
    if CLASSES[label] == 'star':
        length[1::2] *= 0.5
    points = np.stack((np.cos(angle) * length, np.sin(angle) * length), axis=1)
    flat, turn, last = rng.random(3) * (0.25, 2 * np.pi, 2 * np.pi)
    for rotate in (turn, last):
        cos, sin = np.cos(rotate), np.sin(rotate)
        x = points[:, 0] * cos - points[:, 1] * sin
        y = points[:, 0] * sin + points[:, 1] * cos
        points = np.stack((x * (1 - flat), y), axis=1)
        flat = 0.0
    return points


def _coverage(points: np.ndarray, size: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a polygon lies and which fraction of each pixel there it covers.

    Returns:
        Slices of the rows and columns that it touches, and float64, (rows, columns).
    """
    low = np.clip(np.floor(points.min(axis=0)).astype(np.int64), 0, size)
    high = np.clip(np.ceil(points.max(axis=0)).astype(np.int64) + 1, 0, size)
    width, height = (high - low).tolist()
    fine = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), dtype=np.uint8)
    if fine.size:
        cv2.fillPoly(fine, [np.rint((points - low) * SUPERSAMPLE).astype(np.int32)], 1)
    blocks = fine.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE)
    cover = blocks.sum(axis=3, dtype=np.int64).sum(axis=1) / SUPERSAMPLE**2
    return (slice(low[1], high[1]), slice(low[0], high[0])), cover


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()))


def has_hole(mask: np.ndarray) -> bool:
    """Whether a mask surrounds something that is not mask (COCO polygons cannot say that)."""
    hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[1]
    return hierarchy is not None and bool((hierarchy[0, :, 3] >= 0).any())


def _paint(rng: np.random.Generator, below: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Fills the covered pixels with a colour of its own, shaded or striped.

    Args:
        rng: Source of colour and texture.
        below: The part of the picture that is painted on, (rows, columns, 3).
        cover: Covered fraction of each pixel, (rows, columns).

    Returns:
        The part with the shape on it, (rows, columns, 3).
    """
    height, width = cover.shape
    average = below[cover >= 0.5].mean(axis=0)
    colour = average
    while abs(colour - average).max() < 60:
        colour = _colour(rng, 0.5 + 0.5 * rng.random(), 0.35 + 0.65 * rng.random())
    shade = value_noise(rng, max(height, width), int(rng.integers(4, 24)))[:height, :width, None]
    fill = colour + (shade - 0.5) * (70 * rng.random())
    if rng.random() < 0.25:
        y, x = np.mgrid[:height, :width]
        dx, dy = rng.integers(-3, 4, size=2)
        period = int(rng.integers(12, 40))
        stripes = (x * dx + y * dy) % period < period // 2
        fill = np.where(stripes[..., None], 0.6 * fill + 0.4 * average, fill)
    return below * (1 - cover[..., None]) + fill * cover[..., None]


def draw_scene(seed: int, split: str, index: int, size: int = 160) -> Scene:
    """Draws one scene; the same arguments always give the same scene.

    Args:
        seed: Seed of the whole data set.
        split: 'train', 'val' or 'test'.
        index: Number of the scene in its split.
        size: Side of the picture in pixels. Defaults to 160.

    Returns:
        The scene, with at least one object.
    """
    rng = np.random.Generator(np.random.PCG64([seed, SPLITS.index(split), index]))
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
        left = [old & ~mask for old in masks] + [mask]
        areas = [*full_areas, _polygon_area(outline)]
        if all(
            part.sum() >= max(MIN_PIXELS, MIN_VISIBLE * area) and not has_hole(part)
            for part, area in zip(left, areas, strict=True)
        ):
            canvas[where] = _paint(rng, canvas[where], cover)
            labels.append(label)
            masks, full_areas = left, areas
        else:
            wanted -= int(rng.random() < 0.1)  # a crowded scene ends with fewer objects
    grain = int(rng.integers(2, 16))
    canvas = canvas + rng.integers(-grain, grain + 1, size=canvas.shape)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return Scene(image, labels, np.stack(masks))
