"""Training steps of a distillation config with random weights on synthetic batches."""

from __future__ import annotations

import gc
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import mmkd.models.distiller
import mmkd.models.teacher
from mmkd.cli.common import Run
from mmkd.cli.timing import MIB, Place
from mmkd.datasets.synthetic import make_batch
from mmkd.models.distiller import Distiller
from mmkd.models.teacher import KEY, Teacher, teacher_configs
from mmkd.registry import MODELS as OURS
from mmkd.taps import TapReader
from mmkd.utils.checks import one_of
from mmkd.utils.loading import build_plain, load_config, without_pretrained
from mmkd.utils.student_config import find, learns_from_pairs, plain_config

TASKS = dict(mmdet='det', mmseg='seg', mmpretrain='cls')
REPEATS = 'PreviousBatchSampler'  # whose batches end with the images of the batch before
MEMORY_STEPS = 3  # of which the peak memory is measured
# Freed tensors return to the system at once, so that the resident set is the memory in use.
MALLOC = {'MALLOC_MMAP_THRESHOLD_': '65536'}


def parts_of_step(distiller: Distiller | None, optimizer: Any) -> list[Place]:
    """Return the functions that make up a step, with the names of their parts."""
    places: list[Place] = [(optimizer, 'backward', 'backward'), (optimizer, 'step', 'optimizer')]
    if distiller is None:
        return places
    places += [(mmkd.models.distiller, 'as_fp32', 'taps'), (TapReader, '_take', 'taps')]
    places += [(mmkd.models.teacher, 'as_fp32', 'taps'), (Teacher, '__call__', 'teacher')]
    for method in distiller.methods.values():
        places += [(method, name, 'methods') for name in ('prepare', 'compute')]
    if distiller.mixer is not None:
        places += [(distiller.mixer, name, 'mixer') for name in ('learn', 'mix')]
    return places


@dataclass(frozen=True)
class Setting:
    """Conditions under which a step is measured.

    ``size`` is the images' height and width, ``batch_size`` their number, and ``amp`` is autocast
    for the student. The ``iteration`` defaults to the first one in which all methods have their
    full weight.
    """

    device: str = 'cpu'
    size: tuple[int, int] = (320, 320)
    batch_size: int = 2
    amp: bool = False
    iteration: int | None = None


class Bench:
    """Builds the models of one config, and one batch.

    Teachers (and tokens of MasKD) get random weights: neither checkpoints nor data are needed, and
    the cost is the same. A mixer mixes every batch, whatever its probability.
    """

    def __init__(self, run: Run, setting: Setting) -> None:
        MMLogger.get_instance('benchmark', log_level='ERROR')
        self.cfg = cfg = run.read()
        self.setting = setting
        self.device = torch.device(setting.device)
        task = TASKS[one_of(TASKS, default_scope=cfg.get('default_scope'))]
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
            use_random_weights(self.cfg, Path(folder))
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

    def step(self, model: nn.Module) -> tuple[Callable[[], None], list[Place]]:
        """Return a training step of a model (preprocessing to optimizer) and its parts."""
        config = ConfigDict(self.cfg.optim_wrapper)
        if self.setting.amp:
            config.type = 'AmpOptimWrapper'
        optimizer = build_optim_wrapper(model, config)
        distiller: Distiller | None = getattr(model, 'distiller', None)
        given = self.setting.iteration
        iteration = first_full_iteration(distiller) if given is None else given
        batches: Iterator[Any] = itertools.repeat(self.batch)
        if self.repeats:  # nothing comes before the first batch
            new = {k: v[: self.setting.batch_size // 2] for k, v in self.batch.items()}
            batches = itertools.chain([new], batches)

        def run() -> None:
            with at_iteration(iteration):
                model.train_step(next(batches), optimizer)

        return run, parts_of_step(distiller, optimizer)

    def teach(self, distiller: Distiller) -> Callable[[], None]:
        """Return one forward pass of all teachers that are read, to their deepest taps."""
        with torch.no_grad():
            data = self.student().data_preprocessor(self.batch, True)

        def run() -> None:
            for teacher in read_teachers(distiller):
                teacher(data['inputs'], data['data_samples'])

        return run


def read_teachers(distiller: Distiller) -> list[Teacher]:
    """Return the teachers that the methods read."""
    return [t for t in distiller.teachers.values() if t.reader is not None and t.reader.taps]


def first_full_iteration(distiller: Distiller | None) -> int:
    """Return the first iteration in which the methods have their full weights."""
    schedules = [m.schedule for m in distiller.methods.values()] if distiller else []
    full = (s.begin + s.every * math.ceil(s.warmup_iters / s.every) for s in schedules)
    return max(full, default=0)


@contextmanager
def at_iteration(iteration: int) -> Iterator[None]:
    """Set the current iteration, in the second epoch of two."""
    info = MessageHub.get_current_instance().runtime_info
    before = dict(info)
    info.update(iter=iteration, epoch=1, max_epochs=2)
    try:
        yield
    finally:
        info.clear()
        info.update(before)


def use_random_weights(cfg: Config, folder: Path) -> None:
    """Give every teacher of a config, and MasKD's tokens, random weights, in place."""
    for number, (_, one, _) in enumerate(teacher_configs(cfg.model.distill.get('teacher'))):
        model = build_plain(load_config(one['config'], KEY)[0], KEY)
        model.init_weights()
        checkpoint = folder / f'teacher{number}.pth'
        torch.save(model.state_dict(), checkpoint)
        one['checkpoint'] = str(checkpoint)  # type: ignore[index]
    for name, method in (cfg.model.distill.get('methods') or {}).items():
        if method and method.get('tokens'):
            config = dict(type='mmkd.MaskLearner', teacher=cfg.model.distill.teacher)
            learner = OURS.build(dict(config, tap=method.teacher, levels=method.get('levels')))
            method.tokens = str(folder / f'{name}.pth')
            torch.save(dict(state_dict=learner.state_dict()), method.tokens)


def peak_memory(run: Run, setting: Setting, distilled: bool) -> float | None:
    """Return the peak memory of training steps in MiB, weights and optimizer included.

    On CUDA it is the memory that torch has allocated, on a CPU the resident set of the whole
    process (Python and its packages too, about half a GiB), which is measured on Linux only.
    """
    before = {name: os.environ.get(name) for name in MALLOC}
    os.environ.update(MALLOC)  # is read when a process starts
    try:
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
            return pool.submit(measure_here, run, setting, distilled).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def measure_here(run: Run, setting: Setting, distilled: bool) -> float | None:
    """Measure in this process; see :func:`peak_memory`."""
    bench = Bench(run, setting)
    step, _ = bench.step(bench.distilled() if distilled else bench.student())
    gc.collect()
    cuda = bench.device.type == 'cuda'
    if cuda:
        torch.cuda.reset_peak_memory_stats(bench.device)
    else:
        try:
            Path('/proc/self/clear_refs').write_text('5')  # building has a peak of its own
        except OSError:
            return None
    for _ in range(MEMORY_STEPS):
        step()
    if cuda:
        return torch.cuda.max_memory_allocated(bench.device) / MIB
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:')) / 1024
