"""Configs of short runs, one for each kind of state that a run has to carry on with.

For kill_and_resume.py, growth.py and soak.py in tests/reliability/, and for test_reliability.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from support.runs import run_config
from support.tiny_models import LOGITS, MIMIC, model_config, teacher_config

BOTTLENECK = 'decode_head.bottleneck'
SNAPSHOT = {k: v for k, v in LOGITS['det'].items() if k not in ('type', 'teacher')}
PAIRS = dict(type='mmkd.SameClassPairBatchSampler', anchors_per_epoch='half')
PREVIOUS = dict(type='mmkd.PreviousBatchSampler', new_per_epoch='half')
EMBEDDING = dict(module='head.fc', source='input')
CIRKD = dict(
    type='mmkd.CIRKD',
    student=BOTTLENECK,
    teacher=BOTTLENECK,
    pixel_queue=60,
    region_queue=20,
    pixel_samples=48,
    region_samples=24,
    pixels_per_class=4,
)


def adapters(task: str, mixer: str, **weight: Any) -> Callable[[Path], dict[str, Any]]:
    """Return methods with adapters and schedules under a mixer."""
    return lambda folder: dict(
        teacher=teacher_config(task, folder),
        mixer=dict(type=mixer, prob=0.7),
        methods=dict(
            feature=dict(MIMIC[task], weight=dict(value=1.0, warmup_iters=6)),
            logits=dict(LOGITS[task], weight=dict(value=1.0, decay='cosine', every=2, **weight)),
        ),
    )


def taught(task: str, **method: Any) -> Callable[[Path], dict[str, Any]]:
    """Return one method with a teacher."""
    return lambda folder: dict(
        teacher=teacher_config(task, folder), methods=dict(m=dict(student='neck', **method))
    )


def untaught(**method: Any) -> Callable[[Path], dict[str, Any]]:
    """Return one method without a teacher."""
    return lambda folder: dict(methods=dict(m=method))


def stochastic(folder: Path) -> dict[str, Any]:
    """Return a method whose teacher drops out, from the global generator."""
    extra = dict(drop_path_rate=0.5, zero_init_residual=False)
    backbone = dict(model_config('cls', 4)['backbone'], **extra)
    return dict(
        teacher=teacher_config('cls', folder / 'dropping', width=4, backbone=backbone),
        inherit=('backbone', 'head'),
        methods=dict(
            m=dict(type='mmkd.StochasticSelfKD', student=EMBEDDING, teacher=EMBEDDING, passes=3)
        ),
    )


def swapped(folder: Path) -> dict[str, Any]:
    """Return pairs of a class that swap patches."""
    return dict(
        mixer=dict(type='mmkd.PatchSwap', prob=0.7),
        methods=dict(m=dict(type='mmkd.InstanceKD', student='head.fc')),
    )


def augmented(folder: Path) -> dict[str, Any]:
    """Return an augmentor that learns, with an optimizer of its own."""
    return dict(
        teacher=teacher_config('cls', folder),
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.AffineAugmentor'),
            student='head.fc',
            teacher='head.fc',
            interval=2,
        ),
        methods=dict(logits=LOGITS['cls']),
    )


def refined(folder: Path) -> dict[str, Any]:
    """Return DAFA, which has an optimizer of its own, and DAM."""
    plugins = dict(refine=dict(type='mmkd.DAFA', every=2), region=dict(type='mmkd.DAM'))
    return dict(
        teacher=teacher_config('det', folder), methods=dict(m=dict(MIMIC['det'], **plugins))
    )


# name: (task, distillation, changes of the run's config)
TABLE: dict[str, tuple[str, Callable[[Path], dict[str, Any]], dict[str, Any]]] = {
    'adapters-det': ('det', adapters('det', 'mmkd.PatchMix'), {}),
    'adapters-seg': ('seg', adapters('seg', 'mmkd.CutMix'), {}),
    'adapters-cls': ('cls', adapters('cls', 'mmkd.MixUp', begin=1), {}),
    'queues': (
        'seg',
        lambda folder: dict(teacher=teacher_config('seg', folder), methods=dict(m=CIRKD)),
        {},
    ),
    'masks': (
        'det',
        taught('det', type='mmkd.ACAM', teacher='neck', levels=(1, 2), num_masks=2),
        {},
    ),
    'generation': ('det', taught('det', type='mmkd.MGD', teacher='neck', levels=(1, 2)), {}),
    'predictions': (
        'cls',
        untaught(type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=8, top_k=3),
        {},
    ),
    'snapshot-det': ('det', untaught(type='mmkd.SnapshotSelfKD', **SNAPSHOT), {}),
    'snapshot-cls': ('cls', untaught(type='mmkd.SnapshotSelfKD', student='head.fc'), {}),
    'weak-head': (
        'cls',
        untaught(
            type='mmkd.USKD',
            student=dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,))),
        ),
        {},
    ),
    'dropout': ('cls', stochastic, {}),
    'pairs': (
        'cls',
        swapped,
        {'train_dataloader.batch_size': 4, 'train_dataloader.batch_sampler': PAIRS},
    ),
    'last-batch': (
        'cls',
        untaught(type='mmkd.DLB', student='head.fc'),
        {'train_dataloader.batch_sampler': PREVIOUS},
    ),
    'augmentor': ('cls', augmented, {}),
    'refined': ('det', refined, {}),
    'centroids': ('cls', untaught(type='mmkd.MCMI', student='head.fc', weight=0.1), {}),
    'iterations': (
        'seg',
        adapters('seg', 'mmkd.PatchMix'),
        {
            'train_cfg': dict(by_epoch=False, max_iters=12, _delete_=True),
            'default_hooks.checkpoint': dict(by_epoch=False, interval=3),
            'train_dataloader.sampler': dict(type='InfiniteSampler', _delete_=True),
        },
    ),
    'periodic': (
        'cls',
        adapters('cls', 'mmkd.CutMix'),
        {
            'default_hooks.checkpoint': dict(by_epoch=False, interval=3),
            'optim_wrapper.accumulative_counts': 2,
        },
    ),
    'averaged': (
        'cls',
        adapters('cls', 'mmkd.PatchMix'),
        {'custom_hooks': [dict(type='EMAHook', momentum=0.1)]},
    ),
    'accumulated': (
        'seg',
        adapters('seg', 'mmkd.PatchMix'),
        {'optim_wrapper.accumulative_counts': 2, 'optim_wrapper.optimizer.type': 'SGD'},
    ),
}
# What is not carried on, by design: the page says so.
EXCEPTIONS = ('last-batch',)


def config(name: str, data: Path, folder: Path, work_dir: Path, epochs: int = 3) -> Config:
    """Return the config of one row, with flips and dropout.

    Args:
        name: Row of the table.
        data: Generated images, see :func:`runs.make_data`.
        folder: Where the teachers' weights are, or are written.
        work_dir: Work directory of the run.
        epochs: Length of the run, in epochs of four iterations. Defaults to 3.
    """
    task, distill, changes = TABLE[name]
    (folder / 'dropping').mkdir(parents=True, exist_ok=True)
    cfg = run_config(task, data, work_dir, distill(folder), epochs=epochs)
    cfg.default_hooks.checkpoint.type = 'mmkd.SafeCheckpointHook'
    cfg.merge_from_dict(copy.deepcopy(changes))  # which takes _delete_ out of it
    if 'batch_sampler' in cfg.train_dataloader:
        cfg.train_dataloader.dataset.pop('indices', None)  # several classes
    return cfg
