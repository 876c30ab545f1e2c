"""What has to be equal on several ranks and in one process: methods with state, queues and gathers.

Every row trains a tiny student for some steps. A step is a list of image numbers for each rank;
one process takes them all. Run by ``reliability/two_nodes.py`` and by ``test_ddp.py``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.helpers import make_batch
from support.stateful import CIRKD, untaught
from support.tiny_models import LOGITS, MIMIC, make_student, teacher_config
from torch import nn

from mmkd.datasets import PreviousBatchSampler, SameClassPairBatchSampler
from mmkd.datasets.shapes_scene import CLASSES

STEPS = 4
IMAGES = 16
PER_RANK = 2
TAPS = dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,)))
# A step: the image numbers of every rank.
Step = list[list[int]]


class Numbers(BaseDataset):
    """Images that are only numbers, of three classes."""

    def load_data_list(self) -> list[dict]:
        return [dict(gt_label=number % 3) for number in range(IMAGES)]


def in_order(world: int, steps: int = STEPS, images: int = IMAGES) -> list[Step]:
    """Return steps that take the images one after the other, again and again."""
    numbers = cycle(range(images))
    take = lambda: [next(numbers) for _ in range(PER_RANK)]  # noqa: E731
    return [[take() for _ in range(world)] for _ in range(steps)]


def repeated(world: int) -> list[Step]:
    """Return three epochs of the same two steps."""
    return in_order(world, 6, 2 * world * PER_RANK)


def sampled(cls: type, **kwargs: Any) -> Callable[[int], list[Step]]:
    """Return a function that gives the steps of a batch sampler, each rank's from its own."""

    def steps(world: int) -> list[Step]:
        per_rank = []
        for rank in range(world):
            with patch('mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, world)):
                sampler = DefaultSampler(Numbers(serialize_data=False), seed=3)
            batches = cls(sampler, 2 * PER_RANK, **kwargs)
            epochs: list[list[int]] = []
            while len(epochs) < STEPS:
                epochs += list(batches)
                sampler.set_epoch(sampler.epoch + 1)
            per_rank.append(epochs[:STEPS])
        return [list(step) for step in zip(*per_rank)]

    return steps


@dataclass
class Row:
    """A task, what is distilled, the steps, and a check of what a single process found."""

    task: str
    distill: Callable[[Path], dict[str, Any]]
    steps: Callable[[int], list[Step]] = in_order
    check: Callable[[list[dict]], None] = lambda steps: None


def taught(task: str, **kwargs: Any) -> Callable[[Path], dict[str, Any]]:
    """Return a function that gives methods and an untrained teacher."""
    return lambda folder: dict(teacher=teacher_config(task, folder), methods=copy.deepcopy(kwargs))


def mimic(task: str) -> Row:
    """Return a row with adapters that are not trained in every step, and an identity mixer."""
    # The heads' loss is a mean over all ranks' objects; the region's is one over a rank's cells.
    heads = dict(region=dict(type='mmkd.DAM', region_weight=0.0)) if task == 'det' else {}
    distill = taught(
        task,
        feature=dict(MIMIC[task], weight=dict(value=1.0, every=2), **heads),
        late=dict(MIMIC[task], weight=dict(value=1.0, begin=3)),
        # Softmax, as binary divergences are weighted over the whole batch.
        logits=dict(LOGITS[task], activation='softmax', weight=0.5),
        **(CLASSIFIERS if task == 'cls' else {}),
    )
    mixer = dict(type='mmkd.PatchMix', num_images=1)
    return Row(task, lambda folder: dict(distill(folder), mixer=mixer), check=paused_and_ran)


def paused_and_ran(steps: list[dict]) -> None:
    """Adapters have gradients in every step, which are zero where their method pauses."""
    feature, late = (
        next(k for k in steps[0] if re.match(rf'distiller\.methods\.{name}\..*adapters\.', k))
        for name in ('feature', 'late')
    )
    assert [bool(step[feature].any()) for step in steps] == [True, False, True, False]
    assert [bool(step[late].any()) for step in steps] == [False, False, False, True]


def queues_and_gradients(steps: list[dict]) -> None:
    """All projections are trained; the queues are part of the state."""
    assert {'pixel_queue', 'region_queue'} <= {name.rpartition('.')[2] for name in steps[0]}
    trained = [name for name in steps[-1] if name.startswith('distiller.')]
    assert trained and all(steps[-1][name].any() for name in trained)


def all_predicted(steps: list[dict]) -> None:
    """Every image has a past prediction."""
    (table,) = (value for name, value in steps[-1].items() if name.endswith('.previous'))
    assert table[: 2 * PER_RANK].sum(1).min() > 0.99


# One method with branches, and one whose loss is over the images of all ranks.
EMBEDDING = dict(module='head.fc', source='input')
CLASSIFIERS = dict(
    ofa=dict(
        type='mmkd.OFA',
        student=dict(logits='head.fc', stages=['backbone.layer3', 'backbone.layer4']),
        teacher='head.fc',
    ),
    angles=dict(type='mmkd.CosPress', student=EMBEDDING, teacher=EMBEDDING),
)
ROWS = {
    'adapters-det': mimic('det'),
    'adapters-seg': mimic('seg'),
    'adapters-cls': mimic('cls'),
    # The relations inside a batch are those of each rank's own images.
    'cirkd-queues': Row(
        'seg',
        taught(
            'seg',
            cirkd=dict(CIRKD, batch_weight=0.0, pixel_weight=1.0, region_weight=1.0),
        ),
        check=queues_and_gradients,
    ),
    # The heads' losses are divided by the boxes of all ranks; a region's mean is each rank's own.
    'dam-boxes': Row(
        'det',
        taught(
            'det',
            feature=dict(
                MIMIC['det'], weight=0.01, region=dict(type='mmkd.DAM', region_weight=0.0)
            ),
        ),
    ),
    'past-predictions': Row(
        'cls',
        untaught(
            type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=IMAGES, dtype='fp32'
        ),
        repeated,
        all_predicted,
    ),
    'uskd-mean': Row('cls', untaught(type='mmkd.USKD', student=TAPS, sync_mean=True), repeated),
    'snapshot': Row('cls', untaught(type='mmkd.SnapshotSelfKD', student='head.fc')),
    'dlb-last-batch': Row(
        'cls',
        untaught(type='mmkd.DLB', student='head.fc'),
        sampled(PreviousBatchSampler),
    ),
    'cs-kd-pairs': Row(
        'cls',
        untaught(type='mmkd.CSKD', student='head.fc'),
        sampled(SameClassPairBatchSampler),
    ),
}


def images(model: nn.Module, task: str, numbers: list[int]) -> Any:
    """Return the preprocessed images of some numbers."""
    size, classes = (32 if task == 'cls' else 96), len(CLASSES) + (task == 'seg')
    data: dict[str, list] = dict(inputs=[], data_samples=[])
    for number in numbers:
        for key, value in make_batch(task, 1, size, num_classes=classes, seed=number).items():
            data[key] += value
        data['data_samples'][-1].set_metainfo(dict(sample_idx=number, img_id=number))
        if task == 'cls':
            data['data_samples'][-1].set_gt_label(number % 3)
    data = model.data_preprocessor(data, True)
    return data['inputs'], data['data_samples']


def joined(parts: Step) -> list[int]:
    """Return the images of all ranks as one batch: first all first halves, then all partners."""
    return [n for p in parts for n in p[:PER_RANK]] + [n for p in parts for n in p[PER_RANK:]]


def trace(name: str, folder: Path, world: int, rank: int | None = None) -> list[dict]:
    """Train a row; return the loss, the gradients and the state of every step.

    Args:
        name: Name of the row.
        folder: Where the teacher's weights are kept.
        world: Number of ranks among which a step is divided.
        rank: This process's, or None for one process that takes every image.
    """
    row = ROWS[name]
    MessageHub._instance_dict.clear()  # what the row before has left
    model = make_student(row.task, **row.distill(folder))
    for module in model.modules():  # nothing that depends on the rest of a batch, or on chance
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    wrapped: nn.Module = model
    if rank is not None:
        if rank:  # DDP makes the initial weights equal, adapters included
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
        wrapped = MMDistributedDataParallel(
            model, broadcast_buffers=False, find_unused_parameters=False
        )
        names = make_student(row.task).state_dict()
        assert list(wrapped.state_dict()) == [f'module.{name}' for name in names]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    hub = MessageHub.get_current_instance()
    steps = row.steps(world)
    hub.update_info('max_epochs', len(steps) // 2)
    seen = []
    for iteration, parts in enumerate(steps):
        hub.update_info('iter', iteration)
        hub.update_info('epoch', iteration // 2)
        numbers = joined(parts) if rank is None else parts[rank]
        loss = mean_loss(wrapped(*images(model, row.task, numbers), mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        found = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
        found['loss'] = loss.detach().clone()
        state = {k: v.clone() for k, v in model.distiller.state_dict().items()}
        seen.append({**found, **{f'state.{k}': v for k, v in state.items()}})
        optimizer.step()
    return seen


def mean_loss(losses: dict[str, Any]) -> torch.Tensor:
    """Return what is a mean over images: the distillation losses, and a classifier's own.

    The detector's and the segmenter's own losses are normalized on each rank by mmdet and mmseg;
    they are only kept in the graph.
    """
    total, rest = 0.0, 0.0
    for name, value in losses.items():
        if 'loss' not in name:
            continue
        value = sum(value) if isinstance(value, list) else value
        if name == 'loss' or name.startswith('distill.'):
            total = total + value
        else:
            rest = rest + value
    return total + 0.0 * rest


def compare(name: str, expected: list[dict], ranks: list[list[dict]]) -> float:
    """Compare what several ranks and one process found in a row.

    Returns:
        The largest relative difference of the loss.

    Raises:
        AssertionError: Gradients or state differ between two ranks; these or losses differ between
            the ranks and one process; or the row's check fails.
    """
    ROWS[name].check(expected)
    worst = 0.0
    for step, (one, *several) in enumerate(zip(expected, *ranks, strict=True)):
        loss = torch.stack([rank['loss'] for rank in several]).mean()
        worst = max(worst, float((loss - one['loss']).abs() / one['loss'].abs().clamp_min(1e-6)))
        torch.testing.assert_close(loss, one['loss'], rtol=1e-4, atol=1e-6)
        assert all(rank.keys() == one.keys() for rank in several)
        for key in one.keys() - {'loss'}:
            assert all(torch.equal(several[0][key], rank[key]) for rank in several[1:]), key
            torch.testing.assert_close(
                several[0][key],
                one[key],
                rtol=1e-3,
                atol=1e-5,
                msg=lambda m, key=key, step=step: f'{key} in step {step}: {m}',
            )
    return worst
