"""What several tests need: synthetic batches, reading configs, models made tiny."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs'
TASKS = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
# Arguments of OpenMMLab modules that are widths, or groups of a width; in a tiny model they are
# divided by SCALE.
WIDTHS = (
    'base_channels',
    'channels',
    'fc_out_channels',
    'feat_channels',
    'in_channels',
    'mid_channels',
    'num_groups',
    'out_channels',
    'stem_channels',
)
SCALE = 8


# Batches ------------------------------------------------------------------------------------------


def make_batch(
    task: str,
    num: int = 2,
    size: int | tuple[int, int] | Sequence[tuple[int, int]] = 64,
    num_classes: int = 3,
    channels: int = 3,
    masks: bool = False,
    seed: int = 0,
) -> dict[str, list[Any]]:
    """Return a synthetic batch as a dataloader of mmdet, mmseg or mmpretrain yields it.

    Args:
        task: ``'det'``, ``'seg'`` or ``'cls'``.
        num: Number N of images. Defaults to 2.
        size: Side, (height, width), or one (height, width) for each image. Defaults to 64.
        num_classes: Number of classes. Defaults to 3.
        channels: Image channels. Defaults to 3.
        masks: Whether boxes have instance masks. Defaults to False.
        seed: Seed of the images and labels. Defaults to 0.

    Returns:
        ``inputs``, N uint8 images (channels, H, W), and ``data_samples``: what the
        ``data_preprocessor`` of a model takes.
    """
    rng = np.random.default_rng(seed)
    sizes = sizes_of(size, num)
    make = dict(det=det_sample, seg=seg_sample, cls=cls_sample)[task]
    inputs = [torch.from_numpy(rng.integers(0, 256, (channels, *s), dtype=np.uint8)) for s in sizes]
    samples = [
        make(rng, s, num_classes, masks) if task == 'det' else make(rng, s, num_classes)
        for s in sizes
    ]
    for index, (sample, s) in enumerate(zip(samples, sizes, strict=True)):
        sample.set_metainfo(
            dict(
                img_id=index,
                img_path=f'{index}.png',
                img_shape=s,
                ori_shape=s,
                pad_shape=s,
                scale_factor=(1.0, 1.0),
                flip=False,
            )
        )
    return dict(inputs=inputs, data_samples=samples)


def sizes_of(size: Any, num: int) -> list[tuple[int, int]]:
    """Return (height, width) of every image."""
    if isinstance(size, int):
        return [(size, size)] * num
    if isinstance(size[0], int):
        return [tuple(size)] * num
    assert len(size) == num
    return [tuple(s) for s in size]


def det_sample(
    rng: np.random.Generator, size: tuple[int, int], num_classes: int, masks: bool = False
) -> Any:
    """Return a detection sample with three boxes, each at least a quarter of the image wide."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    h, w = size
    corner = rng.uniform(0, 0.5, (3, 2))
    extent = rng.uniform(0.25, 0.5, (3, 2))
    boxes = np.concatenate([corner, corner + extent], 1) * [w, h, w, h]
    boxes = boxes.astype(np.float32).clip(min=0)
    instances = InstanceData(
        bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        labels=torch.from_numpy(rng.integers(0, num_classes, 3)),
    )
    ignored = InstanceData(
        bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
    )
    if masks:
        bitmaps = np.zeros((3, h, w), dtype=np.uint8)
        for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.round().astype(int), strict=True):
            bitmap[y1:y2, x1:x2] = 1
        instances.masks = BitmapMasks(bitmaps, h, w)
        ignored.masks = BitmapMasks(np.zeros((0, h, w), dtype=np.uint8), h, w)
    return DetDataSample(gt_instances=instances, ignored_instances=ignored)


def seg_sample(rng: np.random.Generator, size: tuple[int, int], num_classes: int) -> Any:
    """Return a segmentation sample: blocks of classes, and a strip of the ignore label."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    blocks = rng.integers(0, num_classes, (4, 4))
    rows, columns = (np.arange(n) * 4 // n for n in size)
    label = blocks[rows[:, None], columns[None]]
    label[:2] = 255
    return SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label)[None]))


def cls_sample(rng: np.random.Generator, size: tuple[int, int], num_classes: int) -> Any:
    """Return a classification sample."""
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(int(rng.integers(0, num_classes)))


# Configs ------------------------------------------------------------------------------------------


def read_config(name: str | Path, directory: Path = ROOT) -> Config:
    """Read a config: a path, relative to ``directory``, or one of a package (``mmdet::…``)."""
    import mmkd

    name = str(name)
    if name.startswith('mmkd::'):
        return Config.fromfile(mmkd.config(name.partition('::')[2]))
    if '::' in name:
        return Config.fromstring(f'_base_ = {name!r}', '.py')
    return Config.fromfile(directory / name)


def bases_of(path: Path) -> list[str]:
    """Return the ``_base_`` of a config file as it is written there."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            bases = ast.literal_eval(node.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []


def task_of(cfg: Config) -> str:
    """Return ``'det'``, ``'seg'`` or ``'cls'``."""
    return TASKS[cfg.default_scope]


def find(node: Any, key: str) -> Any:
    """Return the first value of ``key`` in a nested config, or None."""
    if isinstance(node, Mapping):
        if node.get(key) is not None:
            return node[key]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            found = find(item, key)
            if found is not None:
                return found
    return None


# Tiny models --------------------------------------------------------------------------------------


def tiny(cfg: Config) -> dict[str, Any]:
    """Return a config's model, an eighth as wide where it is a ResNet, for one CPU.

    The kinds and the number of layers stay. Nothing is downloaded and BatchNorm is never
    synchronised.
    """
    model = plain_dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:  # as the Runner does
        model.setdefault('data_preprocessor', plain_dict(cfg.data_preprocessor))
    if 'ResNet' in model['backbone']['type']:
        parts = {k: v for k, v in model.items() if k not in ('data_preprocessor', 'distill')}
        model.update(narrow(parts))
        backbone, original = model['backbone'], cfg.model.backbone
        backbone['base_channels'] = original.get('base_channels', 64) // SCALE
        stem = original.get('stem_channels') or original.get('base_channels', 64)
        backbone['stem_channels'] = stem // SCALE
        if 'in_channels' in original:  # those of the image
            backbone['in_channels'] = original.in_channels
    return model


def plain_dict(node: Any) -> Any:
    """Copy a config without pretrained weights and with BN for SyncBN."""
    if isinstance(node, Mapping):
        copied = {k: plain_dict(v) for k, v in node.items() if k != 'pretrained'}
        if copied.get('type') == 'SyncBN':
            copied['type'] = 'BN'
        init = copied.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            del copied['init_cfg']
        return copied
    if isinstance(node, (list, tuple)):
        return type(node)(plain_dict(item) for item in node)
    return copy.deepcopy(node)


def narrow(node: Any, key: str = '') -> Any:
    """Divide every width by ``SCALE``."""
    if isinstance(node, Mapping):
        return {k: narrow(v, k) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(narrow(item, key) for item in node)
    if key in WIDTHS and isinstance(node, int) and not isinstance(node, bool):
        return max(node // SCALE, 1)
    return node


def build(model: Mapping[str, Any], scope: str) -> nn.Module:
    """Build a model in the scope of its package."""
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(ConfigDict(copy.deepcopy(dict(model))))


def tiny_teacher(cfg: Config, folder: Path, seed: int = 1) -> dict[str, Any]:
    """Save random weights of a tiny teacher.

    Returns:
        ``config`` and ``checkpoint``, to stand in ``model.distill.teacher``.
    """
    model = tiny(cfg)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        teacher = build(model, cfg.default_scope)
        teacher.init_weights()
        # Heads start almost alike; a teacher has to say something else than its student.
        for name, parameter in teacher.named_parameters():
            if name.endswith('bias'):
                parameter.data += 0.1 * torch.randn_like(parameter)
    checkpoint = folder / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict(), meta={}), checkpoint)
    return dict(
        config=dict(default_scope=cfg.default_scope, model=model), checkpoint=str(checkpoint)
    )


def tiny_distilled(cfg: Config, folder: Path, size: Any = 128) -> tuple[dict[str, Any], Any]:
    """Make a distillation config tiny, teacher included.

    Args:
        cfg: A distillation config.
        folder: Where the teacher's weights are written.
        size: Side or (height, width) to which mmseg's preprocessor pads. Defaults to 128.

    Returns:
        The model's config, and the config of its plain student.
    """
    model = tiny(cfg)
    teacher = model['distill'].get('teacher')
    if teacher and 'config' in teacher:
        teacher.update(tiny_teacher(read_config(teacher['config']), folder))
    for name, one in (teacher or {}).items():
        if isinstance(one, dict) and 'checkpoint' in one:
            (folder / name).mkdir()
            one.update(tiny_teacher(read_config(one['config']), folder / name))
    if task_of(cfg) == 'seg':
        model['data_preprocessor']['size'] = sizes_of(size, 1)[0]
    student = {k: v for k, v in model.items() if k not in ('distill', 'student')}
    student['type'] = model['student']
    return model, student


def tensors_of(output: Any) -> list[Tensor]:
    """Return all tensors of a nested output."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [tensor for item in output for tensor in tensors_of(item)]
    return []
