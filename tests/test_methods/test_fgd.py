"""FGD against loops; its masks under padding, crowds and empty images."""

from __future__ import annotations

import math

import pytest
import torch
from support import naive
from support.samples import sample_of
from support.tiny_models import make_student, teacher_config
from support.views import built, random

from mmkd.functional import pad_boxes
from mmkd.methods import FGD
from mmkd.methods.fgd import (
    channel_attention,
    foreground_masks,
    spatial_attention,
    weighted_squares,
)
from mmkd.mixers import PatchMix, View
from mmkd.utils import ConfigError

ARGS = dict(alpha=0.3, beta=0.2, gamma=0.05, lambda_=0.01, tau=0.5)


# Loop versions ------------------------------------------------------------------------------------


def masks_by_loops(boxes, size):
    """Return foreground and background of one image, of boxes in cells."""
    height, width = size
    foreground = [[0.0] * width for _ in range(height)]
    for x1, y1, x2, y2 in boxes:
        left, top, right, bottom = math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)
        weight = 1 / ((bottom - top + 1) * (right - left + 1))
        for y in range(height):
            for x in range(width):
                if left <= x <= right and top <= y <= bottom:
                    foreground[y][x] = max(foreground[y][x], weight)
    free = sum(v == 0 for row in foreground for v in row)
    background = [[1 / free if v == 0 else 0.0 for v in row] for row in foreground]
    return foreground, background


def attention_by_loops(x, tau):
    """Return the spatial and channel attention of one map (C, H, W)."""
    c, h, w = x.shape
    cells = [sum(abs(float(v)) for v in x[:, y, z]) / c for y in range(h) for z in range(w)]
    cells = [v * h * w for v in naive.softmax([v / tau for v in cells])]
    channels = [sum(abs(float(v)) for v in x[k].flatten()) / (h * w) for k in range(c)]
    channels = [v * c for v in naive.softmax([v / tau for v in channels])]
    return [cells[y * w : (y + 1) * w] for y in range(h)], channels


def context_by_loops(x, block):
    """Return a map (C, H, W) with its context added."""
    h, w = x.shape[1:]
    places = [(y, z) for y in range(h) for z in range(w)]
    weight, bias = block.conv_mask.weight[0, :, 0, 0], block.conv_mask.bias[0]
    share = naive.softmax([float(weight @ x[:, y, z] + bias) for y, z in places])
    vector = sum(s * x[:, y, z] for s, (y, z) in zip(share, places))
    first, norm, _, second = block.channel_add_conv
    hidden = first.weight[:, :, 0, 0] @ vector + first.bias
    mean, variance = hidden.mean(), hidden.var(unbiased=False)
    hidden = (hidden - mean) / (variance + norm.eps).sqrt()
    hidden = (hidden * norm.weight.flatten() + norm.bias.flatten()).clamp(min=0)
    return x + (second.weight[:, :, 0, 0] @ hidden + second.bias)[:, None, None]


def fgd_by_loops(student, teacher, boxes, blocks, alpha, beta, gamma, lambda_, tau):
    """Return the four weighted terms of one level; boxes are in cells."""
    terms = [0.0] * 4
    n, c, h, w = teacher.shape
    for i in range(n):
        s, t = student[i], teacher[i]
        foreground, background = masks_by_loops(boxes[i], (h, w))
        cells, channels = attention_by_loops(t, tau)
        own_cells, own_channels = attention_by_loops(s, tau)
        for y in range(h):
            for x in range(w):
                for k in range(c):
                    square = float(s[k, y, x] - t[k, y, x]) ** 2 * cells[y][x] * channels[k]
                    terms[0] += alpha * foreground[y][x] * square / n
                    terms[1] += beta * background[y][x] * square / n
                terms[2] += gamma * abs(own_cells[y][x] - cells[y][x]) / n
        terms[2] += gamma * sum(abs(a - b) for a, b in zip(own_channels, channels)) / n
        difference = context_by_loops(s, blocks[0]) - context_by_loops(t, blocks[1])
        terms[3] += lambda_ * float(difference.square().sum()) / n
    return terms


def view_of(boxes, size=(16, 20), img_shapes=None, **kwargs):
    """Return the view of a padded batch with these boxes."""
    shapes = img_shapes or [size] * len(boxes)
    samples = [sample_of(b, img_shape=s, **kwargs) for b, s in zip(boxes, shapes)]
    return View.plain(torch.zeros(len(boxes), 3, *size), samples)


BOXES = [
    [[0.0, 0.0, 7.5, 9.0], [3.2, 2.0, 5.9, 4.1], [12.0, 8.0, 20.0, 16.0]],  # one inside another
    [],
    [[4.0, 4.0, 8.0, 8.0]],
]


# Functions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [(4, 5), (8, 10), (1, 1)])
def test_masks_equal_loops(size):
    height, width = size
    scale = torch.tensor([width / 20, height / 16] * 2, dtype=torch.double)
    scaled = [torch.tensor(b, dtype=torch.double).reshape(-1, 4) * scale for b in BOXES]
    foreground, background = foreground_masks(*pad_boxes(scaled), size)
    assert foreground.shape == background.shape == (3, 1, *size)
    for i, boxes in enumerate(scaled):
        if size == (1, 1) and len(boxes):  # no background: zero, where the loops divide by it
            assert float(background[i]) == 0 and float(foreground[i]) > 0
            continue
        expected = masks_by_loops(boxes.tolist(), size)
        torch.testing.assert_close(foreground[i, 0], foreground.new_tensor(expected[0]))
        torch.testing.assert_close(background[i, 0], foreground.new_tensor(expected[1]))


def test_orientation_and_weight_of_one_box():
    """Two rows high, three columns wide, on a map that is no square."""
    boxes = torch.tensor([[[1.0, 0.0, 3.0, 1.0]]])
    foreground, background = foreground_masks(boxes, torch.ones(1, 1, dtype=torch.bool), (4, 6))
    expected = torch.zeros(4, 6)
    expected[:2, 1:4] = 1 / 6
    torch.testing.assert_close(foreground[0, 0], expected)
    torch.testing.assert_close(background[0, 0], (expected == 0) / 18)


def test_smaller_boxes_win_and_padding_rows_are_no_boxes():
    large, small = [0.0, 0.0, 7.0, 7.0], [2.0, 2.0, 3.0, 3.0]
    boxes, present = pad_boxes([torch.tensor([large, small]), torch.zeros(0, 4)])
    assert present.tolist() == [[True, True], [False, False]]
    foreground, _ = foreground_masks(boxes, present, (8, 8))
    assert float(foreground[0, 0, 2, 2]) == pytest.approx(1 / 4)
    assert float(foreground[0, 0, 0, 0]) == pytest.approx(1 / 64)
    assert not foreground[1].any()  # though a padding row lies at (0, 0)


@pytest.mark.parametrize('tau', [0.5, 2.0])
@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 2, 1, 1)])
def test_attentions_equal_loops(shape, tau):
    x = random(*shape)
    for i in range(shape[0]):
        cells, channels = attention_by_loops(x[i], tau)
        torch.testing.assert_close(spatial_attention(x, tau)[i, 0], x.new_tensor(cells))
        torch.testing.assert_close(channel_attention(x, tau)[i, :, 0, 0], x.new_tensor(channels))


def test_one_pass_equals_masked_copies():
    student, teacher = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    channels, cells = random(2, 3, 1, 1, seed=2).abs(), random(2, 2, 4, 5, seed=3).abs()
    for m in range(2):
        factor = (cells[:, m : m + 1] * channels).sqrt()
        copies = (student * factor - teacher * factor).square().sum() / 2
        found = weighted_squares((student - teacher).square(), channels, cells)[m]
        torch.testing.assert_close(found, copies)


def test_one_pass_keeps_one_map_for_the_backward_pass():
    student, teacher = random(2, 3, 8, 8).requires_grad_(), random(2, 3, 8, 8, seed=1)
    channels, cells = random(2, 3, 1, 1, seed=2).abs(), random(2, 2, 8, 8, seed=3).abs()
    kept = set()

    def pack(x):
        if x.shape == student.shape:
            kept.add(x.data_ptr())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        weighted_squares((student - teacher).square(), channels, cells).sum().backward()
    assert len(kept) == 1


# The method ---------------------------------------------------------------------------------------


def randomized(method):
    """Fill the last convolutions, which start at zero."""
    for i, p in enumerate(method.parameters()):
        p.data = random(*p.shape, seed=50 + i) * 0.5
    return method


@pytest.mark.parametrize('channels', [4, 3])
def test_equals_loops(channels):
    student = [random(3, channels, 4, 5), random(3, channels, 2, 3, seed=1)]
    teacher = [random(3, 4, 4, 5, seed=2), random(3, 4, 2, 3, seed=3)]
    method = randomized(built(FGD('a', 'b', **ARGS), student, teacher))
    expected = [0.0] * 4
    for i, (s, t) in enumerate(zip(student, teacher)):
        h, w = t.shape[-2:]
        boxes = [[[a * b for a, b in zip(x, (w / 20, h / 16) * 2)] for x in bs] for bs in BOXES]
        s = method.adapters[i](s, (h, w)).detach()
        blocks = (method.student_context[i], method.teacher_context[i])
        with torch.no_grad():
            level = fgd_by_loops(s, t, boxes, blocks, **ARGS)
        expected = [a + b for a, b in zip(expected, level)]
    loss = method.compute(student, teacher, view_of(BOXES))
    assert list(loss) == ['foreground', 'background', 'attention', 'context']
    # Boxes are fp32, as data samples hold them.
    assert [float(v.detach()) for v in loss.values()] == pytest.approx(expected, rel=1e-6)


def test_images_without_boxes_are_background():
    student, teacher = [random(2, 3, 4, 5).requires_grad_()], [random(2, 3, 4, 5, seed=1)]
    method = built(FGD('a', 'b'), student, teacher)
    loss = method.compute(student, teacher, view_of([[], []]))
    sum(loss.values()).backward()
    assert float(loss['foreground'].detach()) == 0 and float(loss['background'].detach()) > 0
    assert all(v.isfinite() for v in loss.values()) and student[0].grad.isfinite().all()


def test_boxes_of_a_smaller_image_in_a_padded_batch():
    """The upper left quarter of a batch holds the image; its box is in pixels of the batch."""
    box, teacher = [[0.0, 0.0, 9.0, 7.0]], [random(1, 3, 8, 10)]
    for use_pad_shape, right, bottom in ((True, 5, 4), (False, 9, 7)):
        method = built(FGD('a', 'b', use_pad_shape=use_pad_shape), teacher, teacher)
        mask = method.masks(teacher, teacher, view_of([box], img_shapes=[(8, 10)]))[0][0, 0]
        expected = torch.zeros(8, 10, dtype=torch.double)
        expected[: bottom + 1, : right + 1] = 1
        assert torch.equal((mask > 0).double(), expected)


def test_images_count_as_they_are_in_published_code_unless_they_are_mixed():
    """A mixed image fills the batch whatever its own size."""
    teacher = [random(2, 3, 8, 10)]
    method = built(FGD('a', 'b'), teacher, teacher)
    samples = [sample_of([[0.0, 0.0, 9.0, 7.0]], img_shape=(8, 10)) for _ in range(2)]
    inputs = torch.zeros(2, 3, 16, 20)
    plain = method.boxes(View.plain(inputs, samples))[2]
    mixer = PatchMix(variant='permutation', grid=(2, 2), num_images=2)
    mixed = method.boxes(mixer.mix(inputs, samples))[2]
    assert plain.tolist() == [[10, 8, 10, 8]] * 2 and mixed.tolist() == [[20, 16, 20, 16]] * 2


def test_edges_round_as_in_published_code():
    """Divided first: 56 / 100 * 25 is above 14, whose ceiling it would be by a stride of 4."""
    box, teacher = [[0.0, 0.0, 56.0, 56.0]], [random(1, 3, 25, 25)]
    method = built(FGD('a', 'b'), teacher, teacher)
    view = view_of([box], size=(100, 100))
    mask = method.masks(teacher, teacher, view)[0][0, 0]
    assert 56 / 100 * 25 > 14 and int((mask > 0).any(0).sum()) == 16  # cells 0 to 15


def test_ignored_boxes_are_background():
    teacher = [random(1, 3, 8, 10)]
    method = built(FGD('a', 'b'), teacher, teacher)
    box = [[4.0, 4.0, 8.0, 8.0]]
    with_crowd = view_of([box], ignored=[[10.0, 0.0, 20.0, 16.0]])
    masks = [method.masks(teacher, teacher, v)[0] for v in (view_of([box]), with_crowd)]
    assert torch.equal(*masks) and masks[0].shape == (1, 2, 8, 10)
    torch.testing.assert_close(masks[0][:, 1:], spatial_attention(teacher[0], 0.5))


def test_wrapped_boxes():
    teacher = [random(1, 3, 8, 10)]
    method = built(FGD('a', 'b'), teacher, teacher)
    masks = [
        method.masks(teacher, teacher, view_of([[[4.0, 4.0, 8.0, 8.0]]], wrap=wrap))[0]
        for wrap in (False, True)
    ]
    assert torch.equal(*masks) and masks[0][:, 0].any()


def test_mixed_images_use_the_mixed_boxes():
    """The boxes are those of the mixed batch; the teacher's map is simulated."""
    boxes = [[[0.0, 0.0, 20.0, 16.0]], [[8.0, 6.0, 12.0, 10.0]]]
    samples = [sample_of(b) for b in boxes]
    mixer = PatchMix(variant='permutation', grid=(2, 2), num_images=2, min_visibility=0.9)
    view = mixer.mix(torch.rand(2, 3, 16, 20), samples)
    student, teacher = [random(2, 3, 8, 10)], [random(2, 3, 8, 10, seed=1)]
    method = randomized(built(FGD('a', 'b', **ARGS), student, teacher))
    cells = [s.gt_instances.bboxes.double().reshape(-1, 4) / 2 for s in view.data_samples]
    assert sum(map(len, cells)) < 2  # the box that covers everything is cut and so ignored
    with torch.no_grad():
        expected = fgd_by_loops(
            student[0],
            view.simulate(teacher[0]),
            [c.tolist() for c in cells],
            (method.student_context[0], method.teacher_context[0]),
            **ARGS,
        )
        loss = method.compute(student, teacher, view)
    assert [float(v) for v in loss.values()] == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_student_and_blocks_but_no_teacher():
    student, teacher = [random(3, 4, 4, 5).requires_grad_()], [random(3, 4, 4, 5, seed=1)]
    method = randomized(built(FGD('a', 'b', **ARGS), student, teacher))
    sum(method.compute(student, teacher, view_of(BOXES)).values()).backward()
    assert student[0].grad.all()
    assert all(p.grad is not None for p in method.parameters())
    assert method.teacher_context[0].channel_add_conv[0].weight.grad.any()
    assert teacher[0].grad is None


def test_a_segmenter_has_no_boxes(tmp_path):
    with pytest.raises(ConfigError, match=r'methods\.m\.type: .*boxes'):
        make_student(
            'seg',
            teacher=teacher_config('seg', tmp_path),
            methods=dict(m=dict(type='mmkd.FGD', student='backbone', teacher='backbone')),
        )
