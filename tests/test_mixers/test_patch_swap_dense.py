"""PatchSwap on label maps and on boxes: our forms."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from support.samples import SIZE, boxes_of, sample_of

from mmkd.mixers import PatchSwap
from mmkd.mixers.patch_swap_dense import dominant_class
from mmkd.mixers.patches import Patches
from mmkd.utils import ConfigError


def seg_samples(maps, **meta):
    samples = []
    for i, labels in enumerate(maps):
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels[None]))
        sample.set_metainfo({k: v[i] for k, v in meta.items()})
        samples.append(sample)
    return samples


def random_maps(batch, size, classes=3, block=4, seed=0):
    """Return label maps of blocks with some other and some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, classes, (batch, -(-size[0] // block), -(-size[1] // block)),
                           generator=generator)  # fmt: skip
    maps = coarse.repeat_interleave(block, 1).repeat_interleave(block, 2)
    maps = maps[:, : size[0], : size[1]].clone()
    noise = torch.rand(maps.shape, generator=generator)
    maps[noise < 0.1] = 0
    maps[noise > 0.97] = 255
    return maps


@pytest.mark.parametrize('layout', [dict(grid=(4, 4)), dict(patch_size=5), dict(grid=(3, 7))])
@pytest.mark.parametrize('min_share', [0.5, 0.7])
def test_cells_of_one_class_equal_loops(layout, min_share):
    size, batch = (16, 20), 4
    maps = random_maps(batch, size, classes=2)
    inputs = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))
    mixer = PatchSwap(prob=1.0, share=1.0, min_share=min_share, **layout)
    view = mixer.mix(inputs, seg_samples(maps))
    rows, columns = mixer.patches.rows_and_columns(mixer.patches.grid_for(size), size)
    expected = torch.zeros(batch, *size, dtype=torch.bool)
    for i in range(2):
        for row in set(rows.tolist()):
            for column in set(columns.tolist()):
                cell = [(y, x) for y in range(16) for x in range(20)
                        if rows[y] == row and columns[x] == column]  # fmt: skip
                best = []
                for image in (i, i + 2):
                    counts = Counter(int(maps[image, y, x]) for y, x in cell)
                    counts.pop(255, None)
                    label = min(counts, key=lambda k: (-counts[k], k)) if counts else 0
                    best.append((label, counts[label] / len(cell)))
                if best[0][0] == best[1][0] and min(s for _, s in best) >= min_share:
                    for y, x in cell:
                        expected[[i, i + 2], y, x] = True
    assert expected.any() and not expected.all()
    assert torch.equal(view.pairs.swapped[:, 0], expected)
    partner = [2, 3, 0, 1]
    assert torch.equal(view.inputs, torch.where(expected[:, None], inputs[partner], inputs))
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in view.data_samples])
    assert torch.equal(labels, torch.where(expected, maps[partner], maps))


def test_label_maps_go_back_with_their_pixels():
    maps, inputs = random_maps(4, (16, 16)), torch.randn(4, 3, 16, 16)
    mixer = PatchSwap(prob=1.0)
    samples = seg_samples(maps)
    once = mixer.mix(inputs, samples, 5)
    assert not torch.equal(once.inputs, inputs)
    assert torch.equal(samples[0].gt_sem_seg.data[0], maps[0])  # the given ones are not changed
    twice = mixer.mix(once.inputs, once.data_samples, 5)
    assert torch.equal(twice.inputs, inputs)
    for sample, labels in zip(twice.data_samples, maps):
        assert torch.equal(sample.gt_sem_seg.data[0], labels)


def test_nothing_of_ignored_patches_is_exchanged():
    maps = torch.full((2, 8, 8), 255)
    view = PatchSwap(prob=1.0, share=1.0).mix(torch.randn(2, 3, 8, 8), seg_samples(maps))
    assert not view.pairs.swapped.any()
    share, _ = dominant_class(maps, Patches((2, 2)))
    assert (share == 0).all()


def test_padding_stays_padding():
    maps = torch.zeros(2, 8, 12, dtype=torch.long)
    shapes = [(8, 12), (6, 7)]
    inputs = torch.stack([torch.zeros(3, 8, 12), torch.full((3, 8, 12), -1.0)])
    inputs[1, :, :6, :7] = 1
    mixer = PatchSwap(prob=1.0, share=1.0, grid=(2, 2))
    view = mixer.mix(inputs, seg_samples(maps, img_shape=shapes))
    assert torch.equal(view.inputs < 0, inputs < 0)
    assert view.pairs.swapped[:, 0, :6, :7].all()
    assert int(view.pairs.swapped.sum()) == 2 * 6 * 7


def test_the_last_batch_may_be_odd():
    mixer = PatchSwap(prob=1.0, share=1.0)
    maps = torch.zeros(4, 8, 8, dtype=torch.long)
    mixer.mix(torch.randn(4, 3, 8, 8), seg_samples(maps))
    for number in (3, 1):
        inputs = torch.randn(number, 3, 8, 8)
        view = mixer.mix(inputs, seg_samples(maps[:number]))
        assert len(view.pairs.images) == number // 2
        assert torch.equal(view.inputs[-1], inputs[-1])
    with pytest.raises(ConfigError, match='an even number'):
        PatchSwap().mix(torch.randn(3, 3, 8, 8), seg_samples(maps[:3]))


def test_label_maps_of_another_size():
    maps = torch.zeros(2, 4, 8, dtype=torch.long)
    with pytest.raises(ConfigError, match=r'data_preprocessor\.size'):
        PatchSwap().mix(torch.zeros(2, 3, 8, 8), seg_samples(maps))


# Detection ----------------------------------------------------------------------------------------


def det_view(samples, iteration=0, inputs=None, **kwargs):
    if inputs is None:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(len(samples), 3, *SIZE, generator=generator)
    mixer = PatchSwap(**{**dict(prob=1.0, share=1.0, grid=(2, 2)), **kwargs})
    return inputs, mixer.mix(inputs, samples, iteration)


@pytest.mark.parametrize('wrap', [False, True])
def test_boxes_of_equal_size_exchange_their_cells_exactly(wrap):
    """Only cells inside the boxes move, to the same cell of the partner, and back."""
    boxes = [[2, 2, 10, 8]], [[8, 9, 16, 15]]
    samples = [sample_of(b, [4], wrap=wrap) for b in boxes]
    inputs, view = det_view(samples, share=0.5, iteration=2)
    assert view.data_samples is samples and view.teacher_inputs is view.inputs
    assert view.pairs.labels.tolist() == [4]
    assert sorted(view.pairs.boxes[0].tolist()) == sorted([boxes[0][0], boxes[1][0]])
    first, second = inputs[0, :, 2:8, 2:10], inputs[1, :, 9:15, 8:16]
    mixed = [view.inputs[0, :, 2:8, 2:10], view.inputs[1, :, 9:15, 8:16]]
    moved = view.pairs.swapped[0, 0, 2:8, 2:10]
    assert moved.any() and not moved.all()
    assert torch.equal(mixed[0], torch.where(moved, second, first))
    assert torch.equal(mixed[1], torch.where(moved, first, second))
    cells = moved.reshape(2, 3, 2, 4)  # whole cells
    assert torch.equal(cells.amax((1, 3)), cells.amin((1, 3)))
    outside = torch.ones(2, *SIZE, dtype=torch.bool)
    outside[0, 2:8, 2:10] = False
    outside[1, 9:15, 8:16] = False
    assert torch.equal(view.inputs.movedim(1, -1)[outside], inputs.movedim(1, -1)[outside])
    _, again = det_view(samples, share=0.5, iteration=2, inputs=view.inputs)
    assert torch.equal(again.inputs, inputs)


def test_a_cell_is_resized_to_the_other_box():
    """Constant cells stay constant in the middle, whatever the sizes."""
    samples = [sample_of([[0, 0, 8, 8]], [1]), sample_of([[4, 0, 20, 16]], [1])]
    inputs = torch.zeros(2, 3, *SIZE)
    for row in range(2):
        for column in range(2):
            value = 1.0 + row * 2 + column
            inputs[0, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = value
            inputs[1, :, row * 8 : row * 8 + 8, 4 + column * 8 : 12 + column * 8] = -value
    _, view = det_view(samples, inputs=inputs)
    for row in range(2):
        for column in range(2):
            value = 1.0 + row * 2 + column
            inner = view.inputs[1, :, row * 8 + 2 : row * 8 + 5, column * 8 + 6 : column * 8 + 9]
            assert torch.equal(inner, torch.full_like(inner, value))
            inner = view.inputs[0, :, row * 4 + 1 : row * 4 + 2, column * 4 + 1 : column * 4 + 2]
            torch.testing.assert_close(inner, torch.full_like(inner, -value), atol=0.2, rtol=0)
    assert int(view.pairs.swapped.sum()) == 8 * 8 + 16 * 16


def test_who_is_in_a_pair():
    """Same class, another image, once at most, no overlap; not the crowd nor what it covers."""
    samples = [
        sample_of(
            [[0, 0, 6, 6], [10, 0, 16, 6], [0, 10, 6, 16], [8, 8, 20, 16], [7, 0, 8, 9]],
            [0, 1, 2, 0, 0],
            ignored=[[11, 9, 13, 11]],
        ),
        sample_of([[2, 2, 9, 9], [3, 3, 11, 11], [12, 1, 19, 8]], [0, 0, 1]),
        sample_of([], []),
    ]
    allowed = {
        (0, (0, 0, 6, 6)), (0, (10, 0, 16, 6)),  # not the third: alone; fourth: crowd; fifth: thin
        (1, (2, 2, 9, 9)), (1, (3, 3, 11, 11)), (1, (12, 1, 19, 8)),
    }  # fmt: skip
    seen = set()
    for iteration in range(20):
        inputs, view = det_view(samples, iteration)
        pairs = view.pairs
        assert sorted(pairs.labels.tolist()) == [0, 1]
        flat = [
            (int(i), tuple(int(v) for v in box))
            for images, boxes in zip(pairs.images, pairs.boxes)
            for i, box in zip(images, boxes)
        ]
        assert len(set(flat)) == len(flat)
        assert all(a != b for a, b in pairs.images.tolist())
        seen |= set(flat)
        assert torch.equal(view.inputs[0, :, 9:11, 11:13], inputs[0, :, 9:11, 11:13])
        assert torch.equal(view.inputs[2], inputs[2])
    assert seen == allowed  # the two that overlap take turns


def test_images_without_boxes():
    for samples in ([sample_of([])] * 2, [sample_of([[0, 0, 8, 8]], [0]), sample_of([])]):
        inputs, view = det_view(samples)
        assert torch.equal(view.inputs, inputs)
        assert view.pairs.images.shape == (0, 2) and view.pairs.boxes.shape == (0, 2, 4)
        assert len(boxes_of(view.data_samples[0].gt_instances)) == len(samples[0].gt_instances)


def test_odd_batches_of_a_detector_are_fine_and_single_images_are_not():
    sample = sample_of([[0, 0, 8, 8]], [0])
    _, view = det_view([sample] * 3)
    assert len(view.pairs.images) == 1
    with pytest.raises(ConfigError, match=r'^train_dataloader\.batch_size: .*at least 2'):
        det_view([sample])


def test_what_boxes_cannot_do():
    masks = BitmapMasks(torch.ones(1, *SIZE, dtype=torch.uint8).numpy(), *SIZE)
    with pytest.raises(ConfigError, match='instance masks'):
        det_view([sample_of([[0, 0, 8, 8]], [0], masks=masks)] * 2)
    with pytest.raises(ConfigError, match=r'^patch_size: .*need a `grid`'):
        det_view([sample_of([[0, 0, 8, 8]], [0])] * 2, patch_size=4)
