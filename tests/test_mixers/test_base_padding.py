"""Batches of images of several sizes: padding stays padding, content stays content."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from support import naive
from support.samples import SIZE, sample_of
from support.tiny_models import NORMALIZE, make_student, preprocessed

from mmkd.mixers import CutMix, PatchMix
from mmkd.models.normalization import Renormalizer


def test_masks_of_padded_images_get_the_size_of_the_batch():
    shapes = [(12, 20), (16, 10)]
    samples = []
    for i, (h, w) in enumerate(shapes):
        bitmap = np.ones((1, h, w), dtype=np.uint8)
        samples.append(
            sample_of([[0, 0, w, h]], [i], masks=BitmapMasks(bitmap, h, w), img_shape=(h, w))
        )
    mixer = PatchMix(grid=(2, 2), variant='permutation')
    view = mixer.mix(torch.zeros(2, 3, *SIZE), samples)
    for mixed in view.data_samples:
        for instances in (mixed.gt_instances, mixed.ignored_instances):
            assert instances.masks.masks.shape[1:] == SIZE


CONTENTS = [(16, 20), (11, 20), (16, 7), (9, 13)]


def padded_batch(value: float = -5.0) -> torch.Tensor:
    """Return images whose pixels are their own index, padded with another value."""
    batch = torch.full((4, 3, *SIZE), value)
    for i, (h, w) in enumerate(CONTENTS):
        batch[i, :, :h, :w] = i
    return batch


@pytest.mark.parametrize(
    'mixer',
    [
        PatchMix(variant='random', grid=(4, 5), num_images=3),
        PatchMix(variant='permutation', grid=(4, 5), num_images=2),
        PatchMix(variant='permutation', patch_size=3, num_images=2),
        CutMix(alpha=1.0, teacher_on_mixed=False),
    ],
)
def test_padding_never_becomes_content_nor_content_padding(mixer):
    batch = padded_batch()
    samples = [sample_of([], [], img_shape=shape) for shape in CONTENTS]
    changed = 0
    for iteration in range(10):
        view = mixer.mix(batch, samples, iteration)
        if not view.parts:
            continue
        assert torch.equal(view.inputs < 0, batch < 0)
        changed += int((view.inputs != batch).sum())
        total = sum(part.weight for part in view.parts)
        assert torch.equal(total, torch.ones_like(total))
        if isinstance(mixer, PatchMix):
            maps = naive.source_maps(mixer, 4, SIZE, iteration, CONTENTS)
            assert torch.equal(view.inputs, naive.mixed_images(batch, maps))
            feature = torch.randn(4, 2, 4, 5)
            torch.testing.assert_close(view.simulate(feature), naive.simulated(feature, maps))
    assert changed > 100


def test_boxes_in_padded_batches_equal_loops():
    mixer = PatchMix(grid=(4, 4), num_images=2)
    samples = []
    for i, (h, w) in enumerate(CONTENTS):
        boxes = [[0, 0, w, h], [w / 2, h / 2, w, h], [1, 1, w / 2, h / 3]]
        samples.append(sample_of(boxes, [10 * i + j for j in range(3)], img_shape=(h, w)))
    for iteration in range(4):
        view = mixer.mix(padded_batch(), samples, iteration)
        maps = naive.source_maps(mixer, 4, SIZE, iteration, CONTENTS)
        for i, mixed in enumerate(view.data_samples):
            expected = {}
            for j, source in enumerate(samples):
                visible = [[v == j for v in line] for line in maps[i]]
                for box, label in zip(
                    source.gt_instances.bboxes.tolist(), source.gt_instances.labels.tolist()
                ):
                    clipped, share = naive.visible_box(box, visible)
                    if share >= 0.3:
                        expected[label] = clipped
            got = dict(zip(mixed.gt_instances.labels.tolist(), mixed.gt_instances.bboxes.tolist()))
            assert got.keys() == expected.keys()
            for label, box in expected.items():
                assert got[label] == pytest.approx(box, abs=1e-4)
                assert box[2] <= CONTENTS[i][1] and box[3] <= CONTENTS[i][0]


def test_the_students_own_preprocessor_pads_and_the_mixer_keeps_it():
    """The real path: images of two sizes, mmdet's preprocessor, mixing, re-normalization."""
    model = make_student('det')
    sizes = [(64, 48), (40, 64)]
    inputs, samples = preprocessed(model, 'det', 2, sizes, masks=True)
    view = PatchMix(variant='permutation', grid=(4, 4)).mix(inputs, samples)
    for i, (h, w) in enumerate(sizes):
        assert samples[i].img_shape == (h, w)
        assert (view.inputs[i, :, h:] == 0).all() and (view.inputs[i, :, :, w:] == 0).all()
    assert not torch.equal(view.inputs, inputs)
    other = make_student('det')
    other.data_preprocessor.mean += 30.0
    other.data_preprocessor.pad_value = 3
    seen = Renormalizer(model.data_preprocessor, other.data_preprocessor)(
        view.inputs, view.data_samples
    )
    std = torch.tensor(NORMALIZE['std'])[:, None, None]
    for i, (h, w) in enumerate(sizes):
        assert (seen[i, :, h:] == 3).all() and (seen[i, :, :, w:] == 3).all()
        torch.testing.assert_close(seen[i, :, :h, :w], view.inputs[i, :, :h, :w] - 30 / std)
