"""The converters of the public originals of the small data sets."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
from support.helpers import ROOT

TOOL = runpy.run_path(str(ROOT / 'tools/dev/make_data.py'))
VOC = '<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'  # noqa: E501


def write_voc(root: Path, images: dict[str, list[tuple]]) -> None:
    """Write a data set in the layout of the original."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / 'BCCD' / folder).mkdir(parents=True, exist_ok=True)
    for name, objects in images.items():
        cv2.imwrite(str(root / f'BCCD/JPEGImages/{name}.jpg'), np.zeros((48, 64, 3), np.uint8))
        text = ''.join(VOC.format(*item) for item in objects)
        (root / f'BCCD/Annotations/{name}.xml').write_text(f'<annotation>{text}</annotation>')


def test_blood_cells(tmp_path):
    images = {'b': [('WBC', 4, 5, 30, 40), ('RBC', 7, 7, 7, 20)], 'a': [('Platelets', 1, 2, 3, 5)]}
    write_voc(tmp_path, images)
    for split, names in dict(train='b a', val='a', test='').items():
        (tmp_path / f'BCCD/ImageSets/Main/{split}.txt').write_text(names)
    TOOL['make_bccd'](tmp_path, tmp_path / 'out')
    found = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert [(i['id'], i['file_name'], i['height'], i['width']) for i in found['images']] == [
        (1, 'a.jpg', 48, 64),
        (2, 'b.jpg', 48, 64),
    ]
    boxes = [(a['image_id'], a['category_id'], a['bbox'], a['area']) for a in found['annotations']]
    assert boxes == [(1, 3, [1, 2, 2, 3], 6), (2, 2, [4, 5, 26, 35], 910)]  # none without area
    assert [c['name'] for c in found['categories']] == ['RBC', 'WBC', 'Platelets']
    assert (tmp_path / 'out/val/a.jpg').is_file()


def test_label_map_of_touching_nuclei():
    one, two = np.zeros((9, 12), bool), np.zeros((9, 12), bool)
    one[1:8, 1:6] = True
    two[1:8, 6:11] = True
    two[1, 5] = True  # overlaps
    label = TOOL['label_map']([one, two], (9, 12))
    expected = np.zeros((9, 12), int)
    for mask in (one, two):
        for y, x in zip(*np.nonzero(mask)):
            around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            inside = all(mask[p] for p in around if 0 <= p[0] < 9 and 0 <= p[1] < 12)
            expected[y, x] = 1 if inside else 2
    expected[one & two] = 255
    assert (label == expected).all()


def test_nuclei_are_split_and_scaled(tmp_path):
    first = (ROOT / 'tools/dev/splits/nuclei.txt').read_text().split()[1]
    for name, side in ((first, 1024), ('f' * 16, 64)):
        folder = tmp_path / 'stage1_train' / (name + '0' * 8)
        for kind in ('images', 'masks'):
            (folder / kind).mkdir(parents=True)
        cv2.imwrite(
            str(folder / f'images/{folder.name}.png'), np.full((side, side, 3), 90, 'uint8')
        )
        mask = np.zeros((side, side), np.uint8)
        mask[: side // 2, : side // 2] = 255
        cv2.imwrite(str(folder / 'masks/1.png'), mask)
    TOOL['make_nuclei'](tmp_path, tmp_path / 'out')
    large = cv2.imread(str(tmp_path / f'out/ann_dir/val/{first}.png'), cv2.IMREAD_GRAYSCALE)
    small = cv2.imread(str(tmp_path / f'out/ann_dir/train/{"f" * 16}.png'), cv2.IMREAD_GRAYSCALE)
    assert large.shape == (512, 512) and small.shape == (64, 64)
    assert sorted(np.unique(large)) == [0, 1, 2] and (large == 1).sum() == 255 * 255
    assert (tmp_path / f'out/img_dir/val/{first}.jpg').is_file()
