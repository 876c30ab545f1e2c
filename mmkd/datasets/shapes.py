"""Generated sample data: colored shapes on textured backgrounds.

``python -m mmkd.datasets.shapes --out data/shapes`` writes, from the same scenes::

    data/shapes/
      img_dir/{train,val,test}/000000.png           images
      ann_dir/{train,val,test}/000000.png           label maps, 0 background, 1.. the classes
      annotations/instances_{train,val,test}.json   COCO boxes and polygons of the visible parts
      cls/{train,val,test}/<class>/000000_0.png     crops of single objects
      shapes.json                                   settings and counts

Pixels and annotations depend on the settings alone. Shapes occlude each other, hexagons and
flattened circles look alike, and color is independent of the class, so a small model is worse
than a big one.
"""

import argparse
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmkd.datasets.shapes_scene import CLASSES, SPLITS, Scene, draw_scene, generator, resize
from mmkd.utils.checks import integer

VERSION = 2  # to be raised when the same settings give other images
GENERATOR = 'mmkd.datasets.shapes'  # not __name__: it is '__main__' under python -m
MARKER = 'shapes.json'
FOLDERS = ('img_dir', 'ann_dir', 'annotations', 'cls')
CONTOUR_SCALE = 4  # masks are enlarged before tracing, so contours follow the pixels' borders


class ForeignFolderError(RuntimeError):
    """The output folder holds something that the generator must not replace."""


def setting(default: int, least: int, text: str) -> Any:
    """Return a field with its smallest value and its description on the command line."""
    return field(default=default, metadata=dict(least=least, help=text))


@dataclass(frozen=True)
class ShapesSettings:
    """Everything the data set depends on.

    Raises:
        ConfigError: A setting is too small.
    """

    num_train: int = setting(800, 1, 'scenes for training')
    num_val: int = setting(100, 1, 'scenes for choosing settings')
    num_test: int = setting(200, 1, 'scenes for the final numbers')
    size: int = setting(160, 96, 'side of a scene in pixels')
    crop_size: int = setting(32, 8, 'side of a classification crop in pixels')
    seed: int = setting(0, 0, 'seed of the data set')

    def __post_init__(self) -> None:
        for one in fields(self):
            integer(one.metadata['least'], **{one.name: getattr(self, one.name)})

    def count(self, split: str) -> int:
        """Number of scenes of a split."""
        return getattr(self, f'num_{split}')


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a bool mask (H, W) without holes: x1, y1, x2, y2, … in pixels of each part."""
    large = mask.astype(np.uint8).repeat(CONTOUR_SCALE, axis=0).repeat(CONTOUR_SCALE, axis=1)
    contours = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [((c.reshape(-1) + 0.5) / CONTOUR_SCALE).tolist() for c in contours]


def coco_annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    """COCO annotations of a scene: box, polygons and area of each visible part."""
    return [
        dict(
            id=first_id + i,
            image_id=image_id,
            category_id=label + 1,
            bbox=box,
            area=int(mask.sum()),
            segmentation=mask_to_polygons(mask),
            iscrowd=0,
        )
        for i, (label, box, mask) in enumerate(
            zip(scene.labels, scene.boxes().tolist(), scene.masks)
        )
    ]


def object_crops(scene: Scene, crop_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """One uint8 crop (crop_size, crop_size, 3) of each object, with context and off-center."""
    size = len(scene.image)
    crops = []
    for x, y, width, height in scene.boxes().tolist():
        side = min(size, int(max(width, height) * (1.15 + 0.35 * rng.random())))
        shift = (rng.random(2) - 0.5) * 0.2 * side
        left = min(max(int(x + (width - side) / 2 + shift[0]), 0), size - side)
        top = min(max(int(y + (height - side) / 2 + shift[1]), 0), size - side)
        crops.append(resize(scene.image[top : top + side, left : left + side], crop_size))
    return crops


def _write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f'cannot write {path}')


def _write_split(root: Path, split: str, settings: ShapesSettings) -> int:
    """Write one split below ``root``; return its number of objects."""
    for name in CLASSES:  # a class without objects has a folder, too
        (root / 'cls' / split / name).mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(settings.count(split)):
        scene = draw_scene(settings.seed, split, index, settings.size)
        name = f'{index:06d}.png'
        _write_png(root / 'img_dir' / split / name, scene.image)
        _write_png(root / 'ann_dir' / split / name, scene.label_map())
        images.append(dict(id=index + 1, file_name=name, width=settings.size, height=settings.size))
        annotations += coco_annotations(scene, index + 1, len(annotations) + 1)
        rng = generator(settings.seed, split, index, 1)  # 1: not the scene's own stream
        crops = object_crops(scene, settings.crop_size, rng)
        for i, (label, crop) in enumerate(zip(scene.labels, crops)):
            _write_png(root / 'cls' / split / CLASSES[label] / f'{index:06d}_{i}.png', crop)
    (root / 'annotations').mkdir(exist_ok=True)
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    return len(annotations)


def read_marker(root: Path) -> dict | None:
    """Settings and counts of a data set of this generator, or None."""
    try:
        marker = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get('generator') == GENERATOR else None


def _write_marker(root: Path, settings: ShapesSettings, objects: dict[str, int]) -> None:
    made = dict(generator=GENERATOR, version=VERSION, classes=CLASSES)
    marker = dict(**made, settings=asdict(settings), objects=objects)
    (root / MARKER).write_text(json.dumps(marker, indent=1))


def _is_complete(root: Path, objects: dict[str, int], settings: ShapesSettings) -> bool:
    return all(
        len(list(root.glob(f'img_dir/{split}/*.png'))) == settings.count(split)
        and len(list(root.glob(f'ann_dir/{split}/*.png'))) == settings.count(split)
        and len(list(root.glob(f'cls/{split}/*/*.png'))) == objects.get(split)
        and (root / 'annotations' / f'instances_{split}.json').is_file()
        for split in SPLITS
    )


def make_shapes(
    out: str | os.PathLike, settings: ShapesSettings | None = None, force: bool = False
) -> bool:
    """Write the data set unless it exists already.

    Args:
        out: Folder of the data set; created if missing.
        settings: What to generate. Defaults to ``ShapesSettings()``.
        force: Replace a data set of this generator that has other settings. Defaults to False.

    Returns:
        True if something was written.

    Raises:
        ForeignFolderError: ``out`` has other content, or shapes of other settings and no force.
    """
    settings = settings or ShapesSettings()
    root = Path(out)
    marker = read_marker(root)
    if marker is None and root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ForeignFolderError(
            f'{root} exists and was not made by {GENERATOR}; choose another --out'
        )
    if marker is not None:
        same = marker['version'] == VERSION and marker['settings'] == asdict(settings)
        if same and _is_complete(root, marker['objects'], settings):
            return False
        if not (same or force or marker['objects'] == {}):
            raise ForeignFolderError(
                f'{root} holds shapes of version {marker["version"]} with {marker["settings"]}, '
                f'requested is version {VERSION} with {asdict(settings)}; '
                'choose another --out, or replace it with --force'
            )
    root.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that folders can be moved; an interrupted run leaves no half data set.
    partial = Path(tempfile.mkdtemp(prefix='.mmkd-shapes-', dir=root.resolve().parent))
    try:
        objects = {split: _write_split(partial, split, settings) for split in SPLITS}
        _write_marker(root, settings, {})  # no objects: incomplete, may be replaced next time
        for folder in FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
            os.replace(partial / folder, root / folder)
        _write_marker(root, settings, objects)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def main(args: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog=f'python -m {GENERATOR}',
        description='Generates the sample data: colored shapes for three tasks.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--out', default='data/shapes', help='folder of the data set')
    parser.add_argument('--force', action='store_true', help='replace shapes of other settings')
    for one in fields(ShapesSettings):
        flag = '--' + one.name.replace('_', '-')
        parser.add_argument(flag, type=int, default=one.default, help=one.metadata['help'])
    values = vars(parser.parse_args(args))
    out, force = values.pop('out'), values.pop('force')
    try:
        written = make_shapes(out, ShapesSettings(**values), force)
    except (ForeignFolderError, ValueError, OSError) as error:
        parser.exit(2, f'error: {error}\n')
    print(f'{out}: {"written" if written else "already there, nothing to do"}')


if __name__ == '__main__':
    main()
