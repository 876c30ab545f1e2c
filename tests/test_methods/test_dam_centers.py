"""Heatmaps of centers against loops and against mmdet's own."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.models.utils import gaussian_radius as mmdet_radius
from mmdet.models.utils import gen_gaussian_target
from support.views import random
from torch.autograd import gradcheck

from mmkd.methods.dam import (
    box_area,
    center_cells,
    center_focal_loss,
    center_heatmap,
    center_regression,
    gaussian_radius,
    peak_boxes,
)

SIZE = (9, 12)
# Two images: boxes that overlap, one at the border, one smaller than a cell; one box and padding.
BOXES = torch.tensor(
    [
        [[1.0, 1.0, 9.5, 7.5], [2.0, 2.0, 8.0, 8.5], [10.2, 0.0, 12.0, 6.0], [3.2, 4.1, 3.6, 4.3]],
        [[0.0, 0.0, 12.0, 9.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ],
    dtype=torch.double,
)
PRESENT = torch.tensor([[True] * 4, [True, False, False, False]])
LABELS = torch.tensor([[0, 1, 1, 1], [2, 0, 0, 0]])


def test_radius_equals_mmdets():
    sizes = random(50, 2).abs() * 20 + 0.01
    for min_overlap in (0.25, 0.3, 0.7, 1.0):
        expected = [mmdet_radius((float(h), float(w)), min_overlap) for w, h in sizes]
        torch.testing.assert_close(
            gaussian_radius(sizes, min_overlap),
            torch.tensor(expected, dtype=torch.double),
            rtol=1e-9,
            atol=1e-9,
        )
    assert float(gaussian_radius(torch.zeros(2))) == 0


def test_heatmap_equals_mmdets_objects_one_by_one():
    heat = center_heatmap(BOXES, LABELS, PRESENT, 3, SIZE)
    expected = torch.zeros(2, 3, *SIZE, dtype=torch.double)
    for i in range(2):
        for box, label, present in zip(BOXES[i], LABELS[i], PRESENT[i]):
            if present:
                x1, y1, x2, y2 = box.tolist()
                radius = max(0, int(mmdet_radius((y2 - y1, x2 - x1), 0.3)))
                center = [int((x1 + x2) / 2), int((y1 + y2) / 2)]
                gen_gaussian_target(expected[i, label], center, radius)
    torch.testing.assert_close(heat, expected, rtol=1e-12, atol=1e-12)
    assert int((heat == 1).sum()) == 5
    # And by the formula, at one place.
    radius = math.floor(float(gaussian_radius(torch.tensor([12.0, 9.0], dtype=torch.double))))
    sigma = (2 * radius + 1) / 6
    assert radius >= 2
    bell = math.exp(-(1**2 + 2**2) / (2 * sigma**2))
    assert float(heat[1, 2, 4 + 2, 6 - 1]) == pytest.approx(bell, rel=1e-12)


def test_cells_lie_on_the_map():
    cells = center_cells(BOXES, SIZE)
    assert cells[0].tolist() == [[5, 4], [5, 5], [11, 3], [3, 4]]
    outside = torch.tensor([[-9.0, -9, -5, -5], [20, 20, 24, 22]])
    assert center_cells(outside, SIZE).tolist() == [[0, 0], [11, 8]]


def test_focal_loss_equals_loops():
    logits = random(2, 3, *SIZE)
    heat = center_heatmap(BOXES, LABELS, PRESENT, 3, SIZE)
    expected = 0.0
    for z, y in zip(logits.flatten().tolist(), heat.flatten().tolist()):
        p = 1 / (1 + math.exp(-z))
        if y == 1:
            expected -= (1 - p) ** 2 * math.log(p)
        else:
            expected -= (1 - y) ** 4 * p**2 * math.log(1 - p)
    assert float(center_focal_loss(logits, heat)) == pytest.approx(expected, rel=1e-9)
    few = logits[:1, :, :3, :3].clone().requires_grad_()
    assert gradcheck(lambda z: center_focal_loss(z, heat[:1, :, 3:6, 4:7]), (few,))
    extreme = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    loss = center_focal_loss(extreme, torch.tensor([[[[0.0, 1.0]]]]))
    loss.backward()
    assert loss.isfinite() and extreme.grad.isfinite().all()


def test_regression_equals_loops():
    prediction = random(2, 2, *SIZE)
    cells, target = center_cells(BOXES, SIZE), random(2, 4, 2, seed=1)
    expected = 0.0
    for i in range(2):
        for j in range(4):
            if PRESENT[i, j]:
                x, y = cells[i, j].tolist()
                for k in range(2):
                    expected += abs(float(prediction[i, k, y, x]) - float(target[i, j, k]))
    got = center_regression(prediction, cells, target, PRESENT)
    assert float(got) == pytest.approx(expected, rel=1e-9)
    prediction.requires_grad_()
    assert gradcheck(lambda x: center_regression(x, cells, target, PRESENT), (prediction,))


def test_what_was_drawn_is_read():
    """Perfect predictions give back the boxes that are larger than a cell."""
    heat = center_heatmap(BOXES, LABELS, PRESENT, 3, SIZE)
    cells = center_cells(BOXES, SIZE)
    sizes, offsets = torch.zeros(2, 2, *SIZE).double(), torch.zeros(2, 2, *SIZE).double()
    for i in range(2):
        for box, (x, y), present in zip(BOXES[i], cells[i], PRESENT[i]):
            if present:
                sizes[i, :, y, x] = box[2:] - box[:2]
                offsets[i, :, y, x] = (box[:2] + box[2:]) / 2 - torch.stack((x, y))
    boxes = peak_boxes(heat, sizes, offsets, top=4)
    assert boxes.shape == (2, 4, 4)
    for expected in (BOXES[0, 0], BOXES[0, 2]):
        assert any(torch.allclose(box, expected) for box in boxes[0])
    torch.testing.assert_close(boxes[1, 0], BOXES[1, 0])
    # The box below a cell's size gets one.
    small = peak_boxes(heat, sizes.clamp(max=0.2), offsets, 1)
    torch.testing.assert_close(small[..., 2:] - small[..., :2], torch.ones(2, 1, 2).double())


def test_peaks_equal_loops():
    heat, sizes, offsets = random(2, 3, *SIZE), random(2, 2, *SIZE).abs() * 4, random(2, 2, *SIZE)
    heat = heat.sigmoid()
    boxes = peak_boxes(heat, sizes, offsets, 5)
    for i in range(2):
        best = heat[i].amax(0)
        peaks = []
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                around = best[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                if float(best[y, x]) == float(around.max()):
                    peaks.append((float(best[y, x]), x, y))
        for box, (_, x, y) in zip(boxes[i], sorted(peaks, reverse=True)[:5], strict=True):
            cx, cy = x + float(offsets[i, 0, y, x]), y + float(offsets[i, 1, y, x])
            w, h = (max(1.0, float(sizes[i, k, y, x])) for k in (0, 1))
            expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            torch.testing.assert_close(box, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)


def test_fewer_peaks_than_asked_for():
    heat = torch.zeros(1, 1, 2, 2)
    heat[0, 0, 1, 1] = 0.5
    boxes = peak_boxes(heat, torch.full((1, 2, 2, 2), 2.0), torch.zeros(1, 2, 2, 2), 10)
    assert boxes.tolist() == [[[0.0, 0.0, 2.0, 2.0]] * 4]


def test_area_equals_loops():
    mask = box_area(BOXES, SIZE)
    assert mask.shape == (2, 1, *SIZE)
    for i in range(2):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                touched = any(
                    x + 1 > x1 and x < x2 and y + 1 > y1 and y < y2
                    for x1, y1, x2, y2 in BOXES[i].tolist()
                )
                assert bool(mask[i, 0, y, x]) == touched
    assert 0 < float(mask[0].mean()) < 1
