"""Training steps of a distillation config with random weights on synthetic batches."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmkd.datasets.synthetic import make_batch
from mmkd.models.distiller import Distiller
from mmkd.models.teacher import KEY, teacher_configs
from mmkd.registry import MODELS as OURS
from mmkd.utils.loading import build_plain, load_config, without_pretrained
from mmkd.utils.student_config import find, learns_from_pairs, plain_config

TASKS = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
REPEATS = 'PreviousBatchSampler'  # whose batches end with the images of the batch before


@dataclass(frozen=True)
class Setting:
    """Under what a step is measured.

    Args:
        device: ``'cpu'`` or ``'cuda'``. Defaults to ``'cpu'``.
        size: Height and width of the images. Defaults to (320, 320).
        batch_size: Images N per step. Defaults to 2.
        amp: Whether the student trains under autocast. Defaults to False.
        iteration: Training iteration that every step believes to be in. Defaults to None: the
            first one in which all methods have their full weight.
    """

    device: str = 'cpu'
    size: tuple[int, int] = (320, 320)
    batch_size: int = 2
    amp: bool = False
    iteration: int | None = None


@dataclass(frozen=True)
class Spec:
    """A distillation config that is measured.

    Args:
        name: Name in the table.
        path: Path of the config.
        options: Overrides, as of ``--cfg-options``.
    """

    name: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)

    def read(self) -> Config:
        """Return the config with its overrides."""
        cfg = Config.fromfile(self.path)
        cfg.merge_from_dict(dict(self.options))
        return cfg


class Bench:
    """Builds the models of one config, and one batch.

    Teachers (and tokens of MasKD) get random weights: neither checkpoints nor data are needed, and
    the cost is the same. A mixer mixes every batch, whatever its probability.

    Args:
        spec: The config.
        setting: Under what it is measured.
    """

    def __init__(self, spec: Spec, setting: Setting) -> None:
        MMLogger.get_instance('benchmark', log_level='ERROR')
        self.cfg = cfg = spec.read()
        self.setting = setting
        self.device = torch.device(setting.device)
        task = TASKS[cfg.default_scope]
        if task == 'seg':  # mmseg's preprocessor crops and pads to this
            for node in (cfg, cfg.model):
                if node.get('data_preprocessor') is not None:
                    node.data_preprocessor.size = setting.size
        self.plain_cfg = plain_config(cfg)
        self.batch = make_batch(
            task,
            num=setting.batch_size,
            size=setting.size,
            num_classes=find(cfg.model, 'num_classes'),
            channels=cfg.model.backbone.get('in_channels', 3),
            masks=find(cfg.model, 'mask_head') is not None,
            paired=learns_from_pairs(cfg),
        )
        sampler = (cfg.get('train_dataloader') or {}).get('batch_sampler') or {}
        self.repeats = str(sampler.get('type')).endswith(REPEATS)
        if self.repeats:
            half = setting.batch_size // 2
            for number, sample in enumerate(self.batch['data_samples'][half : 2 * half]):
                sample.set_metainfo(dict(sample_idx=number))

    def student(self) -> nn.Module:
        """Build the plain student."""
        return self._model(self.plain_cfg)

    def distilled(self) -> nn.Module:
        """Build the distilled student."""
        with tempfile.TemporaryDirectory() as folder:
            with_random_weights(self.cfg, Path(folder))
            model = self._model(self.cfg)
        distiller: Distiller = model.distiller
        if distiller.mixer is not None:
            distiller.mixer.prob = 1.0
        for method in distiller.methods.values():  # as at the start of an epoch
            method.before_epoch(model, [self.batch])
        return model

    def _model(self, cfg: Config) -> nn.Module:
        config = ConfigDict(without_pretrained(cfg.model.to_dict()))
        if cfg.get('data_preprocessor') is not None:
            config.setdefault('data_preprocessor', cfg.data_preprocessor)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(config)
            model.init_weights()
        if self.device.type == 'cpu':
            model = revert_sync_batchnorm(model)
        return model.to(self.device).train()

    def step(self, model: nn.Module) -> Callable[[], None]:
        """Return a whole training step of a model: preprocessing, losses, backward, optimizer."""
        config = ConfigDict(self.cfg.optim_wrapper)
        if self.setting.amp:
            config.type = 'AmpOptimWrapper'
        optimizer = build_optim_wrapper(model, config)
        distiller: Distiller | None = getattr(model, 'distiller', None)
        iteration = self.setting.iteration
        if iteration is None:
            iteration = first_full_iteration(distiller)
        batches = itertools.repeat(self.batch)
        if self.repeats:  # nothing comes before the first batch
            new = {k: v[: self.setting.batch_size // 2] for k, v in self.batch.items()}
            batches = itertools.chain([new], batches)  # type: ignore[assignment]

        def run() -> None:
            with at_iteration(iteration):
                model.train_step(next(batches), optimizer)

        return run

    def teach(self, distiller: Distiller) -> Callable[[], None]:
        """Return one forward pass of all teachers that are read, to their deepest taps."""
        with torch.no_grad():
            data = distiller_data(self.student(), self.batch)

        def run() -> None:
            for teacher in distiller.teachers.values():
                if teacher.reader is not None and teacher.reader.taps:
                    teacher(data['inputs'], data['data_samples'])

        return run


def distiller_data(student: nn.Module, batch: dict[str, Any]) -> Any:
    """Return a batch as the student's data preprocessor makes it."""
    return student.data_preprocessor(batch, True)


def first_full_iteration(distiller: Distiller | None) -> int:
    """Return the first iteration in which the methods have their full weights."""
    schedules = [m.schedule for m in distiller.methods.values()] if distiller else []
    return max(
        (s.begin + s.every * math.ceil(s.warmup_iters / s.every) for s in schedules), default=0
    )


@contextmanager
def at_iteration(iteration: int) -> Iterator[None]:
    """Let everything inside believe that it is in this iteration, of the second epoch of two."""
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    info.update(iter=iteration, epoch=1, max_epochs=2)
    try:
        yield
    finally:
        info.clear()
        info.update(before)


def with_random_weights(cfg: Config, folder: Path) -> None:
    """Give every teacher of a config, and MasKD's tokens, random weights, in place."""
    for number, (_, one, _) in enumerate(teacher_configs(cfg.model.distill.get('teacher'))):
        model = build_plain(load_config(one['config'], KEY)[0], KEY)
        model.init_weights()
        checkpoint = folder / f'teacher{number}.pth'
        torch.save(model.state_dict(), checkpoint)
        one['checkpoint'] = str(checkpoint)  # type: ignore[index]
    for name, method in (cfg.model.distill.get('methods') or {}).items():
        if method.get('tokens'):
            learner = OURS.build(
                dict(
                    type='mmkd.MaskLearner',
                    teacher=cfg.model.distill.teacher,
                    tap=method.teacher,
                    levels=method.get('levels'),
                )
            )
            method.tokens = str(folder / f'{name}.pth')
            torch.save(dict(state_dict=learner.state_dict()), method.tokens)
