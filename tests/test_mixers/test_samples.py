"""Labels of mixed images: boxes, instance masks, label maps, and what padding does to them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from support import naive
from support.helpers import make_batch
from support.samples import SIZE, boxes_of, sample_of

from mmkd.mixers import CutMix, MixUp, PatchMix
from mmkd.utils import ConfigError


def random_samples(batch: int, seed: int, wrap: bool = False, **kwargs):
    """Return samples with a few boxes each, some of them small, and labels that tell them apart."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(batch):
        count = int(rng.integers(0, 5)) if i else 3
        corner = rng.uniform(0, 0.7, (count, 2))
        corners = np.concatenate([corner, corner + rng.uniform(0.1, 0.3, (count, 2))], 1)
        boxes = corners * np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
        labels = [10 * i + j for j in range(count)]
        samples.append(sample_of(boxes.tolist(), labels, wrap=wrap, **kwargs))
    return samples


def hashed(sample) -> str:
    return str([(k, str(v)) for k, v in sample.items()]) + str(sample.metainfo)


@pytest.mark.parametrize('wrap', [False, True], ids=['tensor', 'HorizontalBoxes'])
@pytest.mark.parametrize('variant', ['random', 'permutation'])
@pytest.mark.parametrize('min_visibility', [0.0, 0.3, 1.0])
def test_boxes_equal_loops(wrap, variant, min_visibility):
    """Every box of every source: clipped and kept, ignored, or gone."""
    mixer = PatchMix(variant=variant, grid=(3, 2), num_images=3, min_visibility=min_visibility)
    found = dict(kept=0, ignored=0, gone=0)
    for iteration in range(6):
        samples = random_samples(4, iteration, wrap)
        before = [hashed(s) for s in samples]
        view = mixer.mix(torch.zeros(4, 3, *SIZE), samples, iteration)
        assert [hashed(s) for s in samples] == before  # the given ones are not changed
        maps = naive.source_maps(mixer, 4, SIZE, iteration)
        for i, mixed in enumerate(view.data_samples):
            kept, ignored = {}, {}
            for j, source in enumerate(samples):
                visible = [[v == j for v in line] for line in maps[i]]
                boxes = boxes_of(source.gt_instances).tolist()
                for box, label in zip(boxes, source.gt_instances.labels.tolist()):
                    clipped, share = naive.visible_box(box, visible)
                    if share == 0:
                        found['gone'] += 1
                    elif share >= min_visibility:
                        kept[label] = clipped
                    else:
                        ignored[label] = clipped
            for instances, expected in (
                (mixed.gt_instances, kept),
                (mixed.ignored_instances, ignored),
            ):
                got = dict(zip(instances.labels.tolist(), boxes_of(instances).tolist()))
                assert got.keys() == expected.keys()
                for label, box in expected.items():
                    assert got[label] == pytest.approx(box, abs=1e-4)
            assert isinstance(mixed.gt_instances.bboxes, HorizontalBoxes) == wrap
            assert mixed.metainfo == samples[i].metainfo
            found['kept'] += len(kept)
            found['ignored'] += len(ignored)
    assert found['kept'] and found['gone']
    assert bool(found['ignored']) == (min_visibility > 0)


def halves() -> PatchMix:
    """Return a mixer whose images are two columns, one of each source."""
    return PatchMix(variant='permutation', grid=(1, 2), num_images=2)


def mixed_halves(samples, mixer=None, iteration=0):
    """Mix two images; return the samples and which column is its own in image 0."""
    inputs = torch.stack([torch.full((3, *SIZE), float(i)) for i in range(len(samples))])
    view = (mixer or halves()).mix(inputs, samples, iteration)
    own = 'left' if view.inputs[0, 0, 0, 0] == 0 else 'right'
    return view, own


def test_fully_visible_boxes_are_unchanged_and_order_is_own_first():
    left, right = [1.25, 2.5, 8.75, 9.5], [11.25, 3.0, 19.5, 15.75]
    samples = [sample_of([left, right], [1, 2]), sample_of([left, right], [3, 4])]
    view, own = mixed_halves(samples)
    mixed = view.data_samples[0].gt_instances
    expected = ([1, 4], [left, right]) if own == 'left' else ([2, 3], [right, left])
    assert mixed.labels.tolist() == expected[0]
    assert torch.equal(mixed.bboxes, torch.tensor(expected[1]))
    assert len(view.data_samples[0].ignored_instances) == 0


def test_fragments_are_ignored_and_neither_positive_nor_background():
    # 8 of 10 columns on the left: 0.8 and 0.2 of it are visible in the two images.
    box = [2.0, 2.0, 12.0, 6.0]
    view, own = mixed_halves([sample_of([box], [1]), sample_of([], [])])
    large, small = (0, 1) if own == 'left' else (1, 0)
    assert view.data_samples[large].gt_instances.bboxes.tolist() == [[2.0, 2.0, 10.0, 6.0]]
    assert len(view.data_samples[large].ignored_instances) == 0
    assert view.data_samples[small].ignored_instances.bboxes.tolist() == [[10.0, 2.0, 12.0, 6.0]]
    assert len(view.data_samples[small].gt_instances) == 0


def test_existing_ignored_boxes_are_kept_where_they_are_visible():
    ignored = [[1.0, 1.0, 6.0, 6.0], [12.0, 1.0, 18.0, 6.0], [8.0, 8.0, 19.0, 12.0]]
    samples = [sample_of([], [], ignored=ignored), sample_of([], [], ignored=[])]
    view, own = mixed_halves(samples)
    left, right = view.data_samples if own == 'left' else view.data_samples[::-1]
    assert left.ignored_instances.bboxes.tolist() == [ignored[0], [8.0, 8.0, 10.0, 12.0]]
    assert right.ignored_instances.bboxes.tolist() == [ignored[1], [10.0, 8.0, 19.0, 12.0]]


def test_no_boxes_at_all():
    view, _ = mixed_halves([sample_of([], [], ignored=[]), sample_of([], [], ignored=[])])
    for sample in view.data_samples:
        assert boxes_of(sample.gt_instances).shape == (0, 4)
        assert boxes_of(sample.ignored_instances).shape == (0, 4)
        assert sample.gt_instances.labels.dtype == torch.long


def mask_cases():
    """Return the same masks as a tensor, bitmaps and polygons: a box each."""
    boxes = np.array([[2, 2, 14, 8], [12, 3, 18, 13]])
    bitmaps = np.zeros((2, *SIZE), dtype=np.uint8)
    polygons = []
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes):
        bitmap[y1:y2, x1:x2] = 1
        polygons.append([np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=float)])
    return boxes, dict(
        tensor=torch.from_numpy(bitmaps),
        bool=torch.from_numpy(bitmaps).bool(),
        bitmap=BitmapMasks(bitmaps, *SIZE),
        polygon=PolygonMasks(polygons, *SIZE),
    )


@pytest.mark.parametrize('kind', ['tensor', 'bool', 'bitmap', 'polygon'])
def test_instance_masks_are_cut(kind):
    boxes, kinds = mask_cases()
    samples = [sample_of(boxes, [1, 2], masks=copy.deepcopy(kinds[kind])) for _ in range(2)]
    samples[1].gt_instances.labels += 2
    bitmaps = kinds['tensor'].numpy().copy()
    view, _ = mixed_halves(samples)
    seen = 0
    for i, mixed in enumerate(view.data_samples):
        for name in ('gt_instances', 'ignored_instances'):
            instances = mixed.get(name)
            masks = instances.masks
            assert len(masks) == len(instances)
            array = masks.numpy() if isinstance(masks, torch.Tensor) else masks.masks
            if kind in ('tensor', 'bool'):
                assert masks.dtype == kinds[kind].dtype
            for label, mask in zip(instances.labels.tolist(), array):
                source, index = (label - 1) // 2, (label - 1) % 2
                visible = (view.inputs[i, 0] == source).numpy()
                assert np.array_equal(mask.astype(bool), bitmaps[index].astype(bool) & visible)
                seen += 1
    assert seen >= 5
    given = samples[0].gt_instances.masks  # cut masks are copies
    given = given.to_bitmap().masks if kind == 'polygon' else getattr(given, 'masks', given)
    assert np.array_equal(np.asarray(given).astype(np.uint8), bitmaps)


def test_boxes_of_another_kind_are_refused():
    sample = sample_of([], [])
    sample.gt_instances = InstanceData(bboxes=torch.zeros(1, 5), labels=torch.zeros(1))
    with pytest.raises(ConfigError, match='axis-aligned'):
        PatchMix(variant='permutation').mix(torch.zeros(2, 3, *SIZE), [sample, sample])


@pytest.mark.parametrize('mixer', [PatchMix(grid=(3, 5), num_images=3), CutMix()])
def test_label_maps_are_gathered_as_the_images(mixer):
    """The image is its own label here, so that they can be compared pixel by pixel."""
    labels = torch.randint(0, 200, (4, 1, *SIZE))
    labels[:, :, :2] = 255
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=m), gt_edge_map=PixelData(data=m % 2))
        for m in labels.clone()
    ]
    inputs = labels.double().expand(-1, 3, -1, -1)
    view = mixer.mix(inputs, samples, 1)
    assert not torch.equal(view.inputs, inputs)
    for i, mixed in enumerate(view.data_samples):
        assert mixed.gt_sem_seg.data.dtype == labels.dtype
        assert torch.equal(mixed.gt_sem_seg.data, view.inputs[i, :1].long())
        assert torch.equal(mixed.gt_edge_map.data, view.inputs[i, :1].long() % 2)
        assert torch.equal(samples[i].gt_sem_seg.data, labels[i])


def test_label_maps_of_another_size_are_refused():
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 8, 8))) for _ in range(2)]
    with pytest.raises(ConfigError, match=r'gt_sem_seg of shape \(1, 8, 8\)'):
        PatchMix(variant='permutation').mix(torch.zeros(2, 3, *SIZE), samples)


def test_soft_labels_are_mixed_again():
    """A data pipeline that mixes already gives scores, and so do several labels per image."""
    from mmpretrain.structures import DataSample

    scores = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    samples = [DataSample().set_gt_score(score) for score in scores]
    view = halves().mix(torch.zeros(2, 3, *SIZE), samples)
    for mixed in view.data_samples:
        assert torch.allclose(mixed.gt_score, scores.mean(0))
    samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
    mixer = halves()
    mixer.num_classes = 3
    mixed = mixer.mix(torch.zeros(2, 3, *SIZE), samples).data_samples[0]
    assert mixed.gt_score.tolist() == [0.5, 0.5, 0.5]


def test_soft_labels_need_the_number_of_classes():
    from mmpretrain.structures import DataSample

    with pytest.raises(ConfigError, match=r'^num_classes'):
        halves().mix(torch.zeros(2, 3, *SIZE), [DataSample().set_gt_label(0) for _ in range(2)])


def test_mixup_of_boxes():
    """Everything stays visible; the fainter image's boxes are ignored below min_visibility."""
    boxes = [[1.0, 1.0, 6.0, 6.0]]
    samples = [sample_of(boxes, [1]), sample_of(boxes, [2])]
    mixer = MixUp(min_visibility=0.3)
    outcomes = set()
    for iteration in range(30):
        view = mixer.mix(torch.zeros(2, 3, *SIZE), samples, iteration)
        share = [float(v) for v in view.parts[1].weight.mean((1, 2, 3))]
        for i, mixed in enumerate(view.data_samples):
            own, other = i + 1, 2 - i
            faint = share[i] < 0.3
            assert mixed.gt_instances.labels.tolist() == ([own] if faint else [own, other])
            assert mixed.ignored_instances.labels.tolist() == ([other] if faint else [])
            outcomes.add(faint)
    assert outcomes == {True, False}


def test_mixup_keeps_the_label_map_of_the_stronger_image():
    data = make_batch('seg', 2, 16)
    view = MixUp().mix(torch.zeros(2, 3, 16, 16), data['data_samples'])
    assert (view.parts[0].weight >= 0.5).all()
    for mixed, given in zip(view.data_samples, data['data_samples']):
        assert torch.equal(mixed.gt_sem_seg.data, given.gt_sem_seg.data)
