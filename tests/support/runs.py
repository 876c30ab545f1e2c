"""The generated sample data for tiny models, and configs of whole training runs."""

from __future__ import annotations

import copy
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from support.tiny_models import SCOPES, model_config

from mmkd.datasets.shapes import ShapesSettings, make_shapes
from mmkd.datasets.shapes_scene import CLASSES

BEST = dict(det='coco/bbox_mAP', seg='mIoU', cls='accuracy/top1')


def make_data(root: Path) -> Path:
    """Write eight training images and a few others."""
    make_shapes(root, ShapesSettings(num_train=8, num_val=2, num_test=2, size=96, crop_size=32))
    return root


def dataset_config(task: str, root: Path, split: str) -> dict[str, Any]:
    """Return a data set's config."""
    load = dict(type='LoadImageFromFile')
    if task == 'det':
        return dict(
            type='CocoDataset',
            data_root=str(root),
            metainfo=dict(classes=tuple(CLASSES)),
            ann_file=f'annotations/instances_{split}.json',
            data_prefix=dict(img=f'img_dir/{split}'),
            test_mode=split != 'train',
            pipeline=[
                load,
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(96, 96), keep_ratio=True),
                dict(type='RandomFlip', prob=0.5 if split == 'train' else 0.0),
                dict(
                    type='PackDetInputs',
                    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
                ),
            ],
        )
    if task == 'seg':
        return dict(
            type='BaseSegDataset',
            data_root=str(root),
            metainfo=dict(classes=('background', *CLASSES)),
            img_suffix='.png',
            seg_map_suffix='.png',
            data_prefix=dict(img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'),
            pipeline=[
                load,
                dict(type='LoadAnnotations'),
                dict(type='RandomFlip', prob=0.5 if split == 'train' else 0.0),
                dict(type='PackSegInputs'),
            ],
        )
    return dict(
        type='CustomDataset',
        data_root=str(root / 'cls' / split),
        # As many as there are scenes, whatever the number of objects.
        indices=8 if split == 'train' else 4,
        pipeline=[
            load,
            dict(type='RandomFlip', prob=0.5 if split == 'train' else 0.0),
            dict(type='PackInputs'),
        ],
    )


def loader_config(task: str, root: Path, split: str) -> dict[str, Any]:
    """Return a dataloader's config: batches of two, in this process."""
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
        dataset=dataset_config(task, root, split),
    )


def run_config(
    task: str, root: Path, work_dir: Path, distill: Any = None, epochs: int = 2, **overrides: Any
) -> Config:
    """Return the config of a run of four iterations per epoch, distilled unless None."""
    model = model_config(task)
    if distill is not None:
        student = model.pop('type')
        model = dict(type='mmkd.Distilled', student=student, distill=distill, **model)
    cfg = dict(
        default_scope=SCOPES[task],
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader_config(task, root, 'train'),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
            clip_grad=dict(max_norm=10.0),
        ),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1),
            logger=dict(type='LoggerHook', interval=1),
            distill=dict(type='mmkd.DistillHook'),
        ),
        randomness=dict(seed=0),
        # Unique: mmengine keeps the default scope of every name for the whole process.
        experiment_name=f'{task}-{"-".join(Path(work_dir).parts[1:])}',
        log_level='INFO',
    )
    cfg.update(copy.deepcopy(overrides))
    return Config(cfg)


def evaluation(task: str, root: Path) -> dict[str, Any]:
    """Return the part of a run's config that evaluates after every epoch."""
    metric = dict(
        det=dict(
            type='CocoMetric', ann_file=str(root / 'annotations/instances_val.json'), metric='bbox'
        ),
        seg=dict(type='IoUMetric', iou_metrics=['mIoU']),
        cls=dict(type='Accuracy', topk=(1,)),
    )[task]
    return dict(
        val_dataloader=loader_config(task, root, 'val'), val_evaluator=metric, val_cfg=dict()
    )


def train(cfg: Config) -> Runner:
    """Run a training."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


class Stop(Hook):
    """Interrupts a run, as a user or a full disk does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            raise KeyboardInterrupt


def without_luck(cfg, task):
    """Remove what draws from the global generators, whose states no OpenMMLab run restores."""
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform['type'] == 'RandomFlip':
            transform['prob'] = 0.0
    if task == 'seg':
        cfg.model.decode_head.dropout_ratio = 0.0
    return cfg


def everything(runner) -> dict:
    """Return all that a run has learnt: student, adapters, momenta."""
    state = dict(runner.model.state_dict())
    state.update({f'distiller.{k}': v for k, v in runner.model.distiller.state_dict().items()})
    momenta = runner.optim_wrapper.optimizer.state
    for name, parameter in runner.model.named_parameters():
        state[f'momentum of {name}'] = momenta[parameter]['momentum_buffer']
    return state


class Count(Hook):
    """Notes the iterations of a run."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.steps.append(runner.iter)


@contextmanager
def small_disk(size: int):
    """Make the operating system refuse files larger than ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
