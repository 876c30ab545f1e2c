"""Random batches of each task, in the format of a data loader, for benchmarks and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData


def make_batch(
    task: str,
    num: int = 2,
    size: int | tuple[int, int] | Sequence[tuple[int, int]] = 64,
    num_classes: int = 3,
    channels: int = 3,
    masks: bool = False,
    seed: int = 0,
    paired: bool = False,
) -> dict[str, list[Any]]:
    """Return a synthetic batch in the format of mmdet's, mmseg's or mmpretrain's data loaders.

    Args:
        task: ``'det'``, ``'seg'`` or ``'cls'``.
        num: Number N of images. Defaults to 2.
        size: Side, (height, width), or one (height, width) per image. Defaults to 64.
        num_classes: Number of classes. Defaults to 3.
        channels: Image channels. Defaults to 3.
        masks: Whether boxes have instance masks. Defaults to False.
        seed: Seed of the images and labels. Defaults to 0.
        paired: Give image i + N/2 the labels of image i, as a sampler of same-class pairs does.
            Defaults to False.

    Returns:
        ``inputs``, N uint8 images (channels, H, W), and ``data_samples``, for the
        ``data_preprocessor`` of a model.
    """
    rng = np.random.default_rng(seed)
    sizes = sizes_of(size, num)
    inputs = [torch.from_numpy(rng.integers(0, 256, (channels, *s), dtype=np.uint8)) for s in sizes]
    make = dict(det=det_sample, seg=seg_sample, cls=cls_sample)[task]
    samples = [make(rng, s, num_classes, masks) for s in sizes]
    if paired:
        half = num // 2
        samples[half : 2 * half] = [sample.clone() for sample in samples[:half]]
    for index, (sample, s) in enumerate(zip(samples, sizes)):
        shapes = dict(img_shape=s, ori_shape=s, pad_shape=s, scale_factor=(1.0, 1.0), flip=False)
        names = dict(img_id=index, sample_idx=index, img_path=f'{index}.png')
        sample.set_metainfo(dict(**names, **shapes))
    return dict(inputs=inputs, data_samples=samples)


def sizes_of(size: Any, num: int) -> list[tuple[int, int]]:
    """Return (height, width) of every image."""
    if isinstance(size, int):
        size = (size, size)
    sizes = [tuple(size)] * num if isinstance(size[0], int) else [tuple(s) for s in size]
    assert len(sizes) == num
    return sizes


def det_sample(
    rng: np.random.Generator, size: tuple[int, int], num_classes: int, masks: bool
) -> Any:
    """Return a detection sample with three boxes, each at least a quarter of the image wide."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    h, w = size
    corner = rng.uniform(0, 0.5, (3, 2))
    extent = rng.uniform(0.25, 0.5, (3, 2))
    boxes = np.concatenate([corner, corner + extent], 1) * [w, h, w, h]
    boxes = boxes.astype(np.float32).clip(min=0)
    instances = InstanceData(
        bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        labels=torch.from_numpy(rng.integers(0, num_classes, 3)),
    )
    if masks:
        bitmaps = np.zeros((3, h, w), dtype=np.uint8)
        for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.round().astype(int)):
            bitmap[y1:y2, x1:x2] = 1
        instances.masks = BitmapMasks(bitmaps, h, w)
    return DetDataSample(gt_instances=instances, ignored_instances=instances[:0])


def seg_sample(rng: np.random.Generator, size: tuple[int, int], num_classes: int, _: bool) -> Any:
    """Return a segmentation sample: blocks of classes, and a strip of the ignore label."""
    from mmseg.structures import SegDataSample

    blocks = rng.integers(0, num_classes, (4, 4))
    rows, columns = (np.arange(n) * 4 // n for n in size)
    label = blocks[rows[:, None], columns[None]]
    label[:2] = 255
    return SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label)[None]))


def cls_sample(rng: np.random.Generator, size: tuple[int, int], num_classes: int, _: bool) -> Any:
    """Return a classification sample."""
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(int(rng.integers(0, num_classes)))
