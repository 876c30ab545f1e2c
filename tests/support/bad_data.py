"""Data with one fault each: files, annotations, pixels; and what is said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from support.runs import evaluation

# Changes a copy of the sample data, and the config of a run on it.
Change = Callable[[Path, Any], None]
DATASET = 'train_dataloader.dataset'
ANNOTATIONS = 'annotations/instances_train.json'


def image_of(task: str, root: Path) -> Path:
    """Return the first training image."""
    folder = root / ('cls/train' if task == 'cls' else 'img_dir/train')
    return sorted(folder.rglob('*.png'))[0]


def map_of(root: Path) -> Path:
    return sorted((root / 'ann_dir/train').glob('*.png'))[0]


def written(content: bytes, find: Callable[[Path], Path]) -> Change:
    """Return a change that replaces a file's bytes."""
    return lambda root, cfg: find(root).write_bytes(content) and None


def halved(find: Callable[[Path], Path]) -> Change:
    """Return a change that cuts a file off."""

    def change(root: Path, cfg: Any) -> None:
        path = find(root)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def removed(name: str) -> Change:
    """Return a change that removes a file or a folder."""

    def change(root: Path, cfg: Any) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def annotated(edit: Callable[[dict], Any]) -> Change:
    """Return a change of the annotations of the training images."""

    def change(root: Path, cfg: Any) -> None:
        content = json.loads((root / ANNOTATIONS).read_text())
        edit(content)
        (root / ANNOTATIONS).write_text(json.dumps(content))

    return change


def boxes(*values: list[float]) -> Change:
    """Return a change that gives every object one of some boxes."""

    def edit(content: dict) -> None:
        for index, annotation in enumerate(content['annotations']):
            annotation['bbox'] = values[index % len(values)]

    return annotated(edit)


def labeled_map(value: int, share: float = 1.0) -> Change:
    """Return a change that sets the upper part of every label map to one value."""

    def change(root: Path, cfg: Any) -> None:
        for path in (root / 'ann_dir/train').glob('*.png'):
            labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            labels[: int(share * len(labels))] = value
            cv2.imwrite(str(path), labels)

    return change


def configured(**values: Any) -> Change:
    """Return a change of the training data set's config."""
    return lambda root, cfg: cfg.train_dataloader.dataset.update(values)


def set_key(path: str, value: Any) -> Change:
    """Return a change of one entry of the whole config."""
    return lambda root, cfg: cfg.merge_from_dict({path: value})


def float_pixels(value: float) -> Change:
    """Return a change that reads images as floats and stores one odd pixel in each."""

    def change(root: Path, cfg: Any) -> None:
        for path in (root / 'img_dir/train').glob('*.png'):
            image = cv2.imread(str(path)).astype(np.float32)
            image[3, 4] = value
            cv2.imwrite(str(path.with_suffix('.tiff')), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
            path.unlink()
            path.with_suffix('.tiff').rename(path)
        load = cfg.train_dataloader.dataset.pipeline[0]
        load.update(color_type='unchanged', to_float32=True, imdecode_backend='cv2')

    return change


def only(**kept: Any) -> Change:
    """Return a change that keeps some entries of the annotations only."""
    return annotated(lambda content: content.update(kept))


def misspelt_validation(root: Path, cfg: Any) -> None:
    cfg.merge_from_dict(evaluation('seg', root))
    cfg.val_dataloader.dataset.data_prefix.img_path = 'img_dir/vall'


def image(task: str) -> Callable[[Path], Path]:
    return lambda root: image_of(task, root)


def annotations(root: Path) -> Path:
    return root / ANNOTATIONS


# name: (task, change, what the one error says); '' where training goes on.
DATA: dict[str, tuple[str, Change, str]] = {
    # Files and folders
    'no data_root': (
        'det',
        configured(data_root='no/such'),
        rf"^{DATASET}\.data_root: 'no/such' is not a folder",
    ),
    'no image folder': (
        'det',
        removed('img_dir'),
        rf'^{DATASET}\.data_prefix\.img: .*is not a folder',
    ),
    'no map folder': (
        'seg',
        removed('ann_dir'),
        rf'^{DATASET}\.data_prefix\.seg_map_path: .*is not a folder',
    ),
    'no folder of a split': (
        'cls',
        removed('cls/train'),
        rf"^{DATASET}\.data_root: '.*cls/train' is not a folder",
    ),
    'no annotations': (
        'det',
        removed(ANNOTATIONS),
        rf'^{DATASET}\.ann_file: cannot read .*No such',
    ),
    'annotations are a folder name': (
        'det',
        configured(ann_file='annotations/instances_trian.json'),
        rf'^{DATASET}\.ann_file: .*instances_trian\.json',
    ),
    'empty annotations': ('det', written(b' ', annotations), rf'^{DATASET}\.ann_file: .* is empty'),
    'annotations cut off': (
        'det',
        halved(annotations),
        rf'^{DATASET}\.ann_file: .* is not JSON, or is truncated',
    ),
    'annotations are a page': (
        'det',
        written(b'<html>404</html>', annotations),
        rf'^{DATASET}\.ann_file: .* is not JSON',
    ),
    'a wrapped data set': (
        'cls',
        lambda root, cfg: cfg.train_dataloader.update(
            dataset=dict(type='RepeatDataset', times=2, dataset=dict(data_root='no/such', type='x'))
        ),
        rf"^{DATASET}\.dataset\.data_root: 'no/such' is not a folder",
    ),
    'one of several data sets': (
        'cls',
        lambda root, cfg: cfg.train_dataloader.update(
            dataset=dict(type='ConcatDataset', datasets=[dict(data_root='no/such', type='x')])
        ),
        rf"^{DATASET}\.datasets\.0\.data_root: 'no/such' is not a folder",
    ),
    'work directory below a file': (
        'det',
        lambda root, cfg: cfg.merge_from_dict(dict(work_dir=f'{root}/{ANNOTATIONS}/run')),
        r'^work_dir: cannot write into .*instances_train\.json/run',
    ),
    'work directory read-only': (
        'det',
        set_key('work_dir', '/proc/self'),
        r"^work_dir: cannot write into '/proc/self'",
    ),
    'sharded': (
        'det',
        set_key('strategy', dict(type='FSDPStrategy')),
        r'^strategy: FSDPStrategy shards the parameters.*DDPStrategy',
    ),
    'deepspeed': (
        'det',
        set_key('strategy', dict(type='mmengine.DeepSpeedStrategy')),
        r'^strategy: DeepSpeedStrategy shards',
    ),
    'validation images missing': (
        'seg',
        misspelt_validation,
        r"^val_dataloader\.dataset\.data_prefix\.img_path: '.*img_dir/vall' is not a folder",
    ),
    # Images and maps
    'image missing': (
        'det',
        lambda root, cfg: image_of('det', root).unlink(),
        rf'^{DATASET}: .*000000\.png: cannot be read: FileNotFoundError',
    ),
    'image empty': (
        'det',
        written(b'', image('det')),
        rf'^{DATASET}: .*000000\.png: cannot be read: ',
    ),
    'image is text': (
        'cls',
        written(b'<html>not found</html>', image('cls')),
        rf'^{DATASET}: .*\.png: cannot be read: ',
    ),
    'map missing': (
        'seg',
        lambda root, cfg: map_of(root).unlink(),
        rf'^{DATASET}: .*ann_dir/train/000000\.png: cannot be read: FileNotFoundError',
    ),
    'map empty': (
        'seg',
        written(b'', map_of),
        rf'^{DATASET}: .*ann_dir/train/000000\.png: cannot be read: ',
    ),
    'map cut off': (
        'seg',
        halved(map_of),
        rf'^{DATASET}: .*ann_dir/train/000000\.png: cannot be read: ',
    ),
    'map is text': (
        'seg',
        written(b'<html>not found</html>', map_of),
        rf'^{DATASET}: .*ann_dir/train/000000\.png: cannot be read: ',
    ),
    'map of another size': (
        'seg',
        lambda root, cfg: cv2.imwrite(str(map_of(root)), np.zeros((20, 30), np.uint8)) and None,
        rf'^{DATASET}: .*000000\.png: the label map is 20 × 30 and the image 96 × 96',
    ),
    'pixels NaN': (
        'det',
        float_pixels(np.nan),
        rf'^{DATASET}: .*\.png: pixels are NaN or infinite',
    ),
    'pixels infinite': (
        'det',
        float_pixels(np.inf),
        rf'^{DATASET}: .*\.png: pixels are NaN or infinite',
    ),
    # Labels
    'more classes in the maps': (
        'seg',
        labeled_map(7, 0.5),
        rf'^{DATASET}: .*ann_dir.*\.png: label 7 is out of range: .*\.decode_head\.num_classes=6',
    ),
    'fewer classes in a segmenter': (
        'seg',
        set_key('model.decode_head.num_classes', 1),
        rf'^{DATASET}: .*label \d is out of range: model\.decode_head\.num_classes=1 ',
    ),
    'fewer classes in a classifier': (
        'cls',
        lambda root, cfg: cfg.merge_from_dict(
            {'model.head.num_classes': 2, 'train_dataloader.dataset.indices': None}
        ),
        rf'^{DATASET}: .*label \d is out of range: model\.head\.num_classes=2 ',
    ),
    'fewer classes in a detector': (
        'det',
        set_key('model.bbox_head.num_classes', 1),
        rf'^{DATASET}: .*label \d is out of range: model\.bbox_head\.num_classes=1 ',
    ),
    'other class names': (
        'det',
        configured(metainfo=dict(classes=('cat', 'dog')), filter_cfg=dict(filter_empty_gt=True)),
        rf'^{DATASET}: contains no image: .*class names',
    ),
    'no images': (
        'det',
        only(images=[], annotations=[]),
        rf'^{DATASET}: contains no image',
    ),
    'other suffix': (
        'seg',
        configured(img_suffix='.jpg'),
        rf'^{DATASET}: contains no image: .*suffixes',
    ),
    # What is handled: such boxes and images are left out by mmdet, or train on what is there.
    'boxes without area': ('det', boxes([10, 10, 0, 8], [10, 10, 30, 30]), ''),
    'boxes NaN': ('det', boxes([float('nan'), 1, 20, 20], [10, 10, 30, 30]), ''),
    'boxes outside the image': ('det', boxes([500, 500, 20, 20], [10, 10, 30, 30]), ''),
    'boxes partly outside': ('det', boxes([80, 80, 60, 60], [-20, -20, 40, 40]), ''),
    'only crowds': (
        'det',
        annotated(lambda content: [a.update(iscrowd=1) for a in content['annotations']]),
        '',
    ),
    'images without objects': ('det', only(annotations=[]), ''),
    'everything ignored': ('seg', labeled_map(255), ''),
    'one image of one class': ('seg', labeled_map(0), ''),
}
