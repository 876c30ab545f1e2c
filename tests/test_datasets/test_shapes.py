"""The generated sample data: identical images everywhere, annotations that match them."""

import hashlib
import json
import os

import cv2
import numpy as np
import pytest

from mmkd.datasets.shapes import (
    ForeignFolderError,
    ShapesSettings,
    main,
    make_shapes,
    mask_to_polygons,
)
from mmkd.datasets.shapes_scene import (
    CLASSES,
    MIN_PIXELS,
    SPLITS,
    draw_scene,
    has_hole,
    resize,
    value_noise,
)

SETTINGS = ShapesSettings(num_train=6, num_val=3, num_test=3, seed=3)


def digest(root):
    """Hash of all pixels and annotation files below a folder."""
    out = hashlib.sha256()
    for path in sorted(p for p in root.rglob('*') if p.is_file()):
        out.update(path.relative_to(root).as_posix().encode())
        if path.suffix == '.png':
            out.update(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tobytes())
        else:
            out.update(path.read_bytes())
    return out.hexdigest()


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes') / 'data'
    assert make_shapes(root, SETTINGS)
    return root


def test_same_settings_give_same_files(shapes, tmp_path):
    assert make_shapes(tmp_path / 'again', SETTINGS)
    assert digest(tmp_path / 'again') == digest(shapes)
    assert digest(shapes)[:16] == '249e78c385d0469a'  # of version 2


def test_pixels_are_the_known_ones():
    """A change of this hash changes all published numbers: raise shapes.VERSION with it."""
    out = hashlib.sha256()
    for index in range(4):
        scene = draw_scene(0, 'train', index)
        out.update(scene.image.tobytes() + scene.label_map().tobytes())
    assert out.hexdigest()[:16] == '4a939142bc30a8f1'


def test_scene_does_not_depend_on_number_of_scenes(shapes, tmp_path):
    make_shapes(tmp_path / 'more', ShapesSettings(num_train=7, num_val=3, num_test=3, seed=3))
    one, two = (cv2.imread(str(r / 'img_dir/val/000001.png')) for r in (shapes, tmp_path / 'more'))
    assert (one == two).all()


def test_splits_and_seeds_differ():
    images = [draw_scene(seed, split, 0).image for seed in (0, 1) for split in SPLITS]
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize('index', range(8))
def test_masks_of_a_scene(index):
    scene = draw_scene(0, 'test', index)
    assert scene.image.shape == (160, 160, 3) and scene.image.dtype == np.uint8
    assert len(scene.labels) == len(scene.masks) >= 1
    assert scene.masks.sum(axis=0).max() == 1, 'a pixel belongs to one object at most'
    assert scene.masks.sum(axis=(1, 2)).min() >= MIN_PIXELS
    assert not any(has_hole(mask) for mask in scene.masks)


@pytest.mark.parametrize('split', SPLITS)
def test_coco_file(shapes, split):
    mask_utils = pytest.importorskip('pycocotools.mask')
    from pycocotools.coco import COCO

    coco = COCO(str(shapes / 'annotations' / f'instances_{split}.json'))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.imgs) == SETTINGS.count(split)
    for index, image in enumerate(coco.loadImgs(sorted(coco.imgs))):
        picture = cv2.imread(str(shapes / 'img_dir' / split / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3)
        scene = draw_scene(SETTINGS.seed, split, index)
        assert (picture == scene.image).all()
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        assert [a['category_id'] - 1 for a in annotations] == scene.labels
        for annotation, mask in zip(annotations, scene.masks, strict=True):
            ys, xs = mask.nonzero()
            left, top, width, height = annotation['bbox']
            assert (left, top) == (xs.min(), ys.min())
            assert (left + width - 1, top + height - 1) == (xs.max(), ys.max())
            assert annotation['area'] == mask.sum()
            drawn = mask_utils.decode(coco.annToRLE(annotation)).astype(bool)
            assert (drawn & mask).sum() / (drawn | mask).sum() > 0.9


@pytest.mark.parametrize('split', SPLITS)
def test_label_maps_agree_with_masks(shapes, split):
    for index in range(SETTINGS.count(split)):
        path = shapes / 'ann_dir' / split / f'{index:06d}.png'
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels.shape == (160, 160) and labels.dtype == np.uint8
        scene = draw_scene(SETTINGS.seed, split, index)
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            assert (labels[mask] == label + 1).all()
        assert (labels[~scene.masks.any(axis=0)] == 0).all()


@pytest.mark.parametrize('split', SPLITS)
def test_class_folders(shapes, split):
    content = json.loads((shapes / 'annotations' / f'instances_{split}.json').read_text())
    folders = sorted(p.name for p in (shapes / 'cls' / split).iterdir())
    assert folders == list(CLASSES)
    for i, name in enumerate(CLASSES):
        crops = sorted((shapes / 'cls' / split / name).glob('*.png'))
        assert len(crops) == sum(a['category_id'] == i + 1 for a in content['annotations'])
        assert all(cv2.imread(str(crop)).shape == (32, 32, 3) for crop in crops)


def test_second_call_does_nothing(shapes):
    times = {p: p.stat().st_mtime_ns for p in shapes.rglob('*')}
    assert not make_shapes(shapes, SETTINGS)
    assert times == {p: p.stat().st_mtime_ns for p in shapes.rglob('*')}


def test_missing_file_is_made_again(tmp_path):
    settings = ShapesSettings(num_train=1, num_val=1, num_test=1)
    make_shapes(tmp_path / 'data', settings)
    before = digest(tmp_path / 'data')
    (tmp_path / 'data/img_dir/train/000000.png').unlink()
    assert make_shapes(tmp_path / 'data', settings)
    assert digest(tmp_path / 'data') == before
    assert os.listdir(tmp_path) == ['data'], 'no temporary folder is left'


def test_other_settings_need_force(tmp_path):
    settings = ShapesSettings(num_train=1, num_val=1, num_test=1)
    make_shapes(tmp_path / 'data', settings)
    other = ShapesSettings(num_train=2, num_val=1, num_test=1)
    with pytest.raises(ForeignFolderError, match='--force'):
        make_shapes(tmp_path / 'data', other)
    assert make_shapes(tmp_path / 'data', other, force=True)
    assert len(os.listdir(tmp_path / 'data/img_dir/train')) == 2


@pytest.mark.parametrize('force', [False, True])
def test_foreign_folder_is_refused(tmp_path, force):
    (tmp_path / 'img_dir').mkdir()
    (tmp_path / 'img_dir' / 'mine.png').write_text('mine')
    with pytest.raises(ForeignFolderError, match='not made by'):
        make_shapes(tmp_path, SETTINGS, force=force)
    assert (tmp_path / 'img_dir' / 'mine.png').read_text() == 'mine'


def test_own_files_beside_the_data_survive(tmp_path):
    settings = ShapesSettings(num_train=1, num_val=1, num_test=1)
    make_shapes(tmp_path / 'data', settings)
    (tmp_path / 'data' / 'notes.txt').write_text('mine')
    make_shapes(tmp_path / 'data', ShapesSettings(2, 1, 1), force=True)
    assert (tmp_path / 'data' / 'notes.txt').read_text() == 'mine'


def test_command_line(tmp_path, capsys):
    args = ['--out', str(tmp_path / 'x'), '--num-train', '1', '--num-val', '1', '--num-test', '1']
    main(args)
    assert 'written' in capsys.readouterr().out
    main(args)
    assert 'nothing to do' in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        main([*args, '--seed', '5'])
    assert error.value.code == 2 and 'choose another --out' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [dict(num_train=0), dict(size=40), dict(seed=-1)])
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShapesSettings(**wrong)


def test_resize_and_noise():
    image = np.full((20, 20, 3), 77, dtype=np.uint8)
    assert (resize(image, 32) == 77).all() and resize(image, 32).shape == (32, 32, 3)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (resize(image, 16) == image).all()
    noise = value_noise(np.random.default_rng(0), 50, 7)
    assert noise.shape == (50, 50) and noise.min() >= 0 and noise.max() <= 1


def test_polygons_of_two_parts():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:6, 2:6] = mask[10:15, 3:18] = True
    polygons = mask_to_polygons(mask)
    assert len(polygons) == 2 and all(len(p) >= 6 for p in polygons)
