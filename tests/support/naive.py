"""Loop versions of what mmkd computes at once, written from the definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd.mixers.patchmix import PatchMix, permutation, random_cells
from mmkd.utils import step_generator


def source_maps(
    mixer: PatchMix,
    batch: int,
    size: tuple[int, int],
    iteration: int = 0,
    contents: Sequence[tuple[int, int]] | None = None,
) -> list[list[list[int]]]:
    """Return, for every pixel of every image, which image it comes from.

    The patches are found anew from the drawn assignment: a pixel belongs to the patch that its
    position falls into.

    Args:
        mixer: The mixer, with prob 1.
        batch: Number of images.
        size: Height and width of the batch.
        iteration: Training iteration. Defaults to 0.
        contents: Height and width of every image inside the padded batch. Defaults to None.
    """
    height, width = size
    rows, columns = mixer.patches.grid
    if mixer.patches.patch_size is not None:
        rows, columns = (math.ceil(n / mixer.patches.patch_size) for n in size)
    generator = step_generator(iteration)
    torch.rand((), generator=generator)  # whether the batch is mixed
    arguments = batch, (rows, columns), min(mixer.num_images, batch), generator
    if mixer.variant == 'permutation':
        assignment, sources = permutation(*arguments)
    else:
        assignment, sources = random_cells(*arguments, mixer.per_image)
    maps = []
    for i in range(batch):
        lines = []
        for y in range(height):
            line = []
            for x in range(width):
                if mixer.patches.patch_size is not None:
                    row, column = y // mixer.patches.patch_size, x // mixer.patches.patch_size
                else:
                    row, column = math.floor(y / height * rows), math.floor(x / width * columns)
                source = int(sources[i, assignment[i, row, column]])
                if contents is not None:
                    inside = [y < contents[j][0] and x < contents[j][1] for j in (i, source)]
                    source = source if all(inside) else i
                line.append(source)
            lines.append(line)
        maps.append(lines)
    return maps


def mixed_images(images: Tensor, maps: Any) -> Tensor:
    """Return the images put together pixel by pixel."""
    mixed = torch.full_like(images, -1)
    for i, lines in enumerate(maps):
        for y, line in enumerate(lines):
            for x, source in enumerate(line):
                mixed[i, :, y, x] = images[source, :, y, x]
    return mixed


def window(index: int, cells: int, pixels: int) -> range:
    """Return the pixels that a cell of a map covers, whole pixels only."""
    return range(index * pixels // cells, -(-(index + 1) * pixels // cells))


def simulated(features: Tensor, maps: Any) -> Tensor:
    """Return the teacher's maps of the mixed batch: every cell averages over its pixels."""
    result = torch.zeros_like(features)
    height, width = len(maps[0]), len(maps[0][0])
    h, w = features.shape[-2:]
    for i, lines in enumerate(maps):
        for r in range(h):
            for c in range(w):
                pixels = [lines[y][x] for y in window(r, h, height) for x in window(c, w, width)]
                for source in pixels:
                    result[i, :, r, c] += features[source, :, r, c] / len(pixels)
    return result


def shares(maps: Any) -> Tensor:
    """Return the share (N, N) of every image j in mixed image i."""
    batch, pixels = len(maps), len(maps[0]) * len(maps[0][0])
    result = torch.zeros(batch, batch, dtype=torch.double)
    for i, lines in enumerate(maps):
        for line in lines:
            for source in line:
                result[i, source] += 1 / pixels
    return result


def interior(maps: Any, size: tuple[int, int], radius: int) -> Tensor:
    """Return 1 for cells that no cell of another source, or a mixed one, is near to."""
    height, width = len(maps[0]), len(maps[0][0])
    h, w = size
    kept = torch.zeros(len(maps), 1, h, w)
    for i, lines in enumerate(maps):
        cells = [
            [
                {lines[y][x] for y in window(r, h, height) for x in window(c, w, width)}
                for c in range(w)
            ]
            for r in range(h)
        ]
        for r in range(h):
            for c in range(w):
                near = [
                    cells[y][x]
                    for y in range(max(r - radius, 0), min(r + radius + 1, h))
                    for x in range(max(c - radius, 0), min(c + radius + 1, w))
                ]
                kept[i, 0, r, c] = float(len(set.union(*near)) == 1)
    return kept


def visible_box(box: Sequence[float], visible: Any) -> tuple[list[float], float]:
    """Return a box clipped to its visible pixels, and the visible share of its pixels.

    A pixel (x, y) belongs to a box that overlaps its square from x to x + 1, from y to y + 1.
    """
    height, width = len(visible), len(visible[0])
    inside, seen = [], []
    for y in range(height):
        for x in range(width):
            if x + 1 > box[0] and x < box[2] and y + 1 > box[1] and y < box[3]:
                inside.append((x, y))
                if visible[y][x]:
                    seen.append((x, y))
    if not seen:
        return list(box), 0.0
    left, right = min(x for x, _ in seen), max(x for x, _ in seen) + 1
    top, bottom = min(y for _, y in seen), max(y for _, y in seen) + 1
    clipped = [max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom)]
    return clipped, len(seen) / len(inside)


def softmax(values: Sequence[float]) -> list[float]:
    """Return the softmax of a list."""
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def kl(target: Sequence[float], logits: Sequence[float], tau: float) -> float:
    """Return KL(target || softmax(logits / τ)) τ²."""
    probs = softmax([v / tau for v in logits])
    return tau**2 * sum(t * math.log(t / p) for t, p in zip(target, probs) if t > 0)


def sigmoid(value: float) -> float:
    """Return the logistic function."""
    return 1 / (1 + math.exp(-value))


def binary_kl(teacher: float, student: float) -> float:
    """Return KL(t || s) of two Bernoulli probabilities."""
    return teacher * math.log(teacher / student) + (1 - teacher) * math.log(
        (1 - teacher) / (1 - student)
    )


def distributions(logits: Sequence[float], tau: float, activation: str) -> list[list[float]]:
    """Return the distribution of a row of logits, or one for each sigmoid."""
    if activation == 'softmax':
        return [softmax([v / tau for v in logits])]
    return [[sigmoid(v / tau), sigmoid(-v / tau)] for v in logits]


def divergence(target: Sequence[float], estimate: Sequence[float]) -> float:
    """Return KL(target || estimate) of two distributions."""
    return sum(t * (math.log(t) - math.log(e)) for t, e in zip(target, estimate) if t > 0)


def bilinear(image: Tensor, x: float, y: float, padding: str) -> Tensor:
    """Read an image (C, H, W) at a place in pixels, pixel centers at whole numbers."""
    _, height, width = image.shape
    if padding == 'border':
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    value = torch.zeros(len(image), dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            if 0 <= row < height and 0 <= column < width:
                value += weight * image[:, row, column]
    return value


def affine_transform(
    image: Tensor, dx: float, dy: float, angle: float, scale: float, padding: str
) -> Tensor:
    """Put every pixel where it came from: turn back, scale back, shift back, about the center."""
    _, height, width = image.shape
    cx, cy = (width - 1) / 2, (height - 1) / 2
    out = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            px, py = x - cx - dx * width, y - cy - dy * height
            qx = (math.cos(angle) * px + math.sin(angle) * py) / scale
            qy = (-math.sin(angle) * px + math.cos(angle) * py) / scale
            out[:, y, x] = bilinear(image, qx + cx, qy + cy, padding)
    return out


def label_map(*shape, seed=0):
    """Return labels of classes 0 and 2; class 1 is absent."""
    return 2 * torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))


def naive_means(feature, labels, n, k):
    """Return the mean of class k in image n, and its number of locations."""
    cells = [
        feature[n, :, y, x].tolist()
        for y in range(labels.shape[1])
        for x in range(labels.shape[2])
        if labels[n, y, x] == k
    ]
    mean = [sum(column) / len(cells) for column in zip(*cells)] if cells else None
    return mean, len(cells)


def cells_of(feature):
    """Return the locations of every image as lists of unit length."""
    images = []
    for image in feature.flatten(2).transpose(1, 2).tolist():
        norms = [math.sqrt(sum(v * v for v in cell)) for cell in image]
        images.append([[v / norm for v in cell] for cell, norm in zip(image, norms)])
    return images


def dot(a, b):
    """Return the inner product of two lists."""
    return sum(x * y for x, y in zip(a, b))
