"""CIFAR-100 from files whose bytes are not the official ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mmkd.registry import DATASETS


def write(folder) -> np.ndarray:
    """Write a data set of 6 images in the official layout; return the images (N, H, W, C)."""
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    root = folder / 'cifar-100-python'
    root.mkdir()
    for split in ('train', 'test'):
        entry = dict(data=images.reshape(6, -1), fine_labels=[0, 1, 2, 3, 4, 99])
        (root / split).write_bytes(pickle.dumps(entry))
    names = [f'class {i}' for i in range(100)]
    (root / 'meta').write_bytes(pickle.dumps(dict(fine_label_names=names)))
    return images.transpose(0, 2, 3, 1)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_reads_files_of_any_bytes(tmp_path, split):
    pytest.importorskip('mmpretrain')
    images = write(tmp_path)
    config = dict(type='mmkd.UncheckedCIFAR100', data_root=str(tmp_path), split=split, pipeline=[])
    dataset = DATASETS.build(dict(config, indices=-2))
    assert len(dataset) == 2 and len(dataset.CLASSES) == 100
    assert (dataset[0]['img'] == images[4]).all()
    assert [dataset[i]['gt_label'] for i in (0, 1)] == [4, 99]
    assert dataset.get_cat_ids(1) == [99]


def test_downloads_nothing(tmp_path):
    pytest.importorskip('mmpretrain')
    config = dict(type='mmkd.UncheckedCIFAR100', data_root=str(tmp_path), split='train')
    with pytest.raises(RuntimeError, match='Cannot find'):
        DATASETS.build(config)
    with pytest.raises(RuntimeError, match='Cannot find'):
        DATASETS.build(dict(config, download=True))
