"""Changes of a distillation config that works: one mistake each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.tiny_models import LOGITS, MIMIC, model_config, teacher_config

METHODS = 'model.distill.methods'
TEACHER = 'model.distill.teacher'
MIXER = 'model.distill.mixer'
SIMULATION = dict(type='mmkd.PatchMixSimulationKD')


def working(task: str, folder: Path) -> dict[str, Any]:
    """Return arguments of a distiller that work."""
    return dict(
        teacher=teacher_config(task, folder),
        mixer=dict(type='mmkd.PatchMix'),
        methods=dict(feature=copy.deepcopy(MIMIC[task]), logits=copy.deepcopy(LOGITS[task])),
    )


def put(path: str, value: Any) -> Callable[[dict, Path], None]:
    """Return a change that sets one entry; ``...`` removes it."""

    def change(distill: dict, folder: Path) -> None:
        *parents, last = path.split('.')
        node = distill
        for name in parents:
            node = node[name]
        if value is ...:
            del node[last]
        else:
            node[last] = value

    return change


def another_teacher(**kwargs: Any) -> Callable[[dict, Path], None]:
    """Return a change that keeps the teacher's config and loads another one's file."""

    def change(distill: dict, folder: Path) -> None:
        distill['teacher']['checkpoint'] = teacher_config(folder=folder, **kwargs)['checkpoint']

    return change


def deeper(distill: dict, folder: Path) -> None:
    """Load the file of a ResNet-34 into a ResNet-18, whose entries it has all."""
    model = model_config('det', 8)
    model['backbone'] = dict(model['backbone'], depth=34)
    other = teacher_config('det', folder, seed=5, backbone=model['backbone'])
    distill['teacher']['checkpoint'] = other['checkpoint']


def other_classes(distill: dict, folder: Path) -> None:
    head = dict(model_config('det', 8)['bbox_head'], num_classes=80)
    other = teacher_config('det', folder, seed=6, bbox_head=head)
    distill['teacher']['checkpoint'] = other['checkpoint']


def fewer_classes_than_the_student(distill: dict, folder: Path) -> None:
    head = dict(model_config('det', 8)['bbox_head'], num_classes=4)
    distill['teacher'] = teacher_config('det', folder, seed=7, bbox_head=head)


def file_of(content: bytes | dict) -> Callable[[dict, Path], None]:
    """Return a change that makes the checkpoint something else."""

    def change(distill: dict, folder: Path) -> None:
        path = folder / 'other.pth'
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        distill['teacher']['checkpoint'] = str(path)

    return change


def truncated(distill: dict, folder: Path) -> None:
    """An interrupted download."""
    given = Path(distill['teacher']['checkpoint'])
    path = folder / 'half.pth'
    path.write_bytes(given.read_bytes()[: given.stat().st_size // 2])
    distill['teacher']['checkpoint'] = str(path)


def two_teachers(distill: dict, folder: Path) -> None:
    distill['teacher'] = dict(big=distill['teacher'])


def broken_config(distill: dict, folder: Path) -> None:
    path = folder / 'broken.py'
    path.write_text('model = dict(\n')
    distill['teacher']['config'] = str(path)


def both(*changes: Callable[[dict, Path], None]) -> Callable[[dict, Path], None]:
    def change(distill: dict, folder: Path) -> None:
        for one in changes:
            one(distill, folder)

    return change
