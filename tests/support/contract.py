"""A place of the contract test: one method, plug-in or mixer in a whole tiny model.

``contract_cases.py`` is the table; ``contract_bad.py`` lists configs that must be refused.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from support.heads import detector_config
from support.helpers import build, make_batch, tiny_tokens
from support.tiny_models import LOGITS, SCOPES, model_config, teacher_config
from torch import Tensor, nn

from mmkd.datasets.shapes_scene import CLASSES
from mmkd.models import distilled

FILE = 'a file'
SIZES = dict(det=64, seg=96, cls=32)
FC = dict(student='head.fc', teacher='head.fc')
NECK = dict(student='neck', teacher='neck')
BACKBONE = dict(student='backbone', teacher='backbone')
BOTTLENECK = dict(student='decode_head.bottleneck', teacher='decode_head.bottleneck')
SEG_LOGITS = dict(student='decode_head.conv_seg', teacher='decode_head.conv_seg')
EMBEDDING = dict(module='head.fc', source='input')
STAGES = dict(logits='head.fc', stages=[f'backbone.layer{i}' for i in (1, 2, 3, 4)])
USKD = dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,)))
# DropPath; branches that start at zero would make dropping them invisible.
DROPPING = dict(
    backbone=dict(model_config('cls', 4)['backbone'], drop_path_rate=0.5, zero_init_residual=False)
)
SWAP = dict(type='mmkd.PatchSwap', prob=1.0)
QUEUES = dict(
    pixel_queue=30, region_queue=6, pixel_samples=20, region_samples=9, pixels_per_class=3
)


@dataclass(frozen=True, eq=False)
class Case:
    """One method, plug-in or mixer in a model.

    Args:
        name: Its type without the scope, and what is special after a dash.
        task: Task of the model.
        config: Its config, without the type.
        path: Where the config stands in ``model.distill``; method ``m`` by default.
        host: Config of the method that a plug-in wraps. Defaults to None.
        mixer: Config of the mixer. Defaults to None.
        family: Detector family, see :mod:`support.heads`. Defaults to '', RetinaNet.
        teacher: Whether there is a teacher; a dict changes its config. Defaults to True.
        inherit: As in ``model.distill``. Defaults to ().
        batches: Image numbers of three steps, the first one in an epoch of its own.
        paired: Whether the second half of a batch has the labels of the first.
        same: Losses that are 0 where the student equals the teacher. Defaults to ().
    """

    name: str
    task: str
    config: dict[str, Any]
    path: tuple[str, ...] = ('methods', 'm')
    host: dict[str, Any] | None = None
    mixer: dict[str, Any] | None = None
    family: str = ''
    teacher: bool | dict[str, Any] = True
    inherit: tuple[str, ...] = ()
    batches: Sequence[Sequence[int]] = ((0, 1, 2, 3),) * 3
    paired: bool = False
    same: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Registered name."""
        return f'mmkd.{self.name.partition("-")[0]}'

    def __str__(self) -> str:
        return self.name

    def model(self, width: int = 4, overrides: Any = None) -> dict[str, Any]:
        """Return the config of a model, as wide as the student by default."""
        if self.family:
            return detector_config(self.family, width)
        return {**model_config(self.task, width), **(overrides or {})}

    def distill(self, folder: Path, width: int = 8, **changes: Any) -> dict[str, Any]:
        """Return ``model.distill``, with changes of the config of this case's part."""
        folder = folder / (self.family or 'plain')
        folder.mkdir(exist_ok=True)
        found: dict[str, Any] = dict(inherit=self.inherit, methods={})
        if self.teacher:
            overrides = self.teacher if isinstance(self.teacher, dict) else {}
            width = 4 if overrides else width
            found['teacher'] = teacher_config(
                self.task, folder, width, **self.model(width, overrides)
            )
        if self.mixer is not None:
            found['mixer'] = copy.deepcopy(self.mixer)
        if self.path[0] == 'mixer':
            found['methods']['m'] = copy.deepcopy(self.host or LOGITS[self.task])
        elif self.host is not None:
            found['methods']['m'] = copy.deepcopy(self.host)
        config = {**copy.deepcopy(self.config), 'type': self.type}
        if config.get('tokens') == FILE:
            config['tokens'] = tiny_tokens(config, found['teacher'], folder)
        node = found
        for key in self.path[:-1]:
            node = node[key]
        node[self.path[-1]] = {**config, **copy.deepcopy(changes)}
        return found

    def plain(self, seed: int = 0) -> nn.Module:
        """Return the student without distillation."""
        torch.manual_seed(seed)
        model = build(self.model(), SCOPES[self.task])
        model.init_weights()
        return model.train()

    def student(self, distill: dict[str, Any], seed: int = 0) -> nn.Module:
        """Return the distilled student."""
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope(SCOPES[self.task]):
            model = distilled(build(self.model(), SCOPES[self.task]), **distill)
            model.init_weights()
        return model.train()

    def raw(self) -> dict[str, list[Any]]:
        """Return four raw images of three classes."""
        classes = 3 if self.family else len(CLASSES) + (self.task == 'seg')
        size = SIZES[self.task]
        batch = make_batch(self.task, 4, size, num_classes=classes, paired=self.paired)
        if self.task == 'cls':
            for number, sample in enumerate(batch['data_samples']):
                sample.set_gt_label(number % 2)
        return batch

    def batch(self, model: nn.Module, numbers: Sequence[int]) -> tuple[Tensor, list[Any]]:
        """Return some of the images, preprocessed."""
        raw = {key: [values[n] for n in numbers] for key, values in self.raw().items()}
        data = model.data_preprocessor(raw, True)
        return data['inputs'], data['data_samples']

    def step(self, model: nn.Module, iteration: int = 0) -> dict[str, Any]:
        """Return the losses of one step; the first two iterations begin an epoch."""
        epoch = min(iteration, 1)
        hub = MessageHub.get_current_instance()
        for key, value in dict(iter=iteration, epoch=epoch, max_epochs=2, max_iters=10).items():
            hub.update_info(key, value)
        if epoch == iteration:
            for method in model.distiller.methods.values():
                method.before_epoch(model, [self.raw()])
        torch.manual_seed(iteration)
        return model(*self.batch(model, self.batches[iteration]), mode='loss')
