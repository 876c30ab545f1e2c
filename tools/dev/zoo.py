"""Distill one config of every folder of mmdet's, mmseg's and mmpretrain's model zoos for one step.

Each config is its own teacher, with random weights. The last stage, the neck and the last module of
the head are tapped. A child process builds the model, trains it plainly for a step on random
images, the smallest that it takes, and then with distillation. A model that does not train, or not
with these taps, is run as a teacher alone. Folders that are in the JSON file are left out, so an
interrupted run goes on. ``tools/dev/zoo_table.py`` writes the page.

``python tools/dev/zoo.py [--packages mmdet] [--folders dino detr] [--limit 600]``
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mmdet
import mmpretrain
import mmseg
import torch
from mmengine.config import Config
from mmengine.fileio import dump, load
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch import Tensor, nn

import mmkd  # noqa: F401 (registers everything)
from mmkd.datasets.synthetic import make_batch
from mmkd.methods import Method
from mmkd.models.distilled import distilled, plain
from mmkd.models.teacher import Teacher
from mmkd.probe import probe, probe_batch, probe_sizes
from mmkd.registry import MODELS, find_task
from mmkd.taps import Tap, flatten
from mmkd.utils import ConfigError, NonFiniteError, count_classes, run_heads
from mmkd.utils.errors import first_line
from mmkd.utils.loading import build_plain

PACKAGES = dict(mmdet=mmdet, mmseg=mmseg, mmpretrain=mmpretrain)
JSON = Path(__file__).resolve().parents[2] / 'docs' / 'results' / 'zoo.json'
# In names of small models, the smallest first.
SMALL: tuple[str, ...] = ('r18', 'tiny', 'nano', 'atto', 'pico', '-t_', '-t-', 's0', 'b0', '400mf')
SMALL += ('s12', '-s_', '-s-', 'small', 'r34', 'r50', 'base')
# Roots of the heads. Heads of regions come last: two models do not look at the same regions.
HEADS = ('rpn_head', 'head|bbox_head|decode_head|panoptic_head|mask_head|decoder', 'roi_head')
CRASH = 'CRASH: '


@MODELS.register_module(force=True)
class ZooMimic(Method):
    """Mean squared difference of whatever is tapped."""

    def forward(self, student: Any, teacher: Any, view: Any) -> dict[str, Tensor]:
        """Return ``mse``."""
        if [s.shape for s in student] != [t.shape for t in teacher]:
            shapes = [[tuple(t.shape) for t in side] for side in (student, teacher)]
            raise ConfigError('student', f'{shapes[0]} of the student differ from {shapes[1]}')
        pairs = zip(student, teacher, strict=True)
        return dict(mse=torch.stack([(s - t).square().mean() for s, t in pairs]).mean())


def configs(package: str) -> dict[str, Path]:
    """Return the config of a small model for every folder of a package."""
    root = Path(PACKAGES[package].__file__).parent / '.mim' / 'configs'
    found = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name != '_base_'):
        path = next(filter(has_model, sorted(folder.glob('*.py'), key=rank)), None)
        if path is not None:
            found[folder.name] = path
    return found


def has_model(path: Path) -> bool:
    """Whether a config describes a model."""
    try:
        return bool(Config.fromfile(path).get('model', {}).get('type'))
    except Exception:  # configs of packages that are not installed
        return False


def rank(path: Path) -> tuple[int, int, str]:
    """Return what small models come first by."""
    place = next((i for i, word in enumerate(SMALL) if word in path.name), len(SMALL))
    return place, len(path.name), path.name


def find_taps(model: nn.Module) -> dict[str, Any]:
    """Return taps of the last stage, the neck and the last module of a head, where there are."""
    called: list[str] = []

    def record(name: str, module: nn.Module, args: Any, output: Any) -> None:
        if name and any(t.is_floating_point() for t in flatten(output)):
            called.append(name)

    def run(inputs: Tensor, samples: Any, whole: bool) -> None:
        called.clear()
        try:
            run_heads(twin, inputs, samples)
        except Exception:  # what lies behind the taps need not run
            if whole or not called:
                raise

    twin = deepcopy(model).eval()  # so that the hooks vanish with it
    for name, module in twin.named_modules():
        module.register_forward_hook(partial(record, name))
    with torch.no_grad():
        probe([twin], None, run)
    # Some networks are no backbone: the first module that is called stands for it.
    stage = 'backbone' if 'backbone' in called else called[0]
    taps: dict[str, Any] = dict(stage=dict(module=stage, levels=(-1,)))
    if 'neck' in called:
        taps['neck'] = dict(module='neck')
    for roots in HEADS:
        modules = [name for name in called if name.partition('.')[0] in roots.split('|')]
        if modules and 'head' not in taps:
            taps['head'] = dict(module=modules[-1], clone=True)
    return taps


def batch_for(model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Return a random batch with every kind of annotation of the model's task."""
    task = find_task(model)
    assert task is not None
    mean = getattr(model.data_preprocessor, 'mean', None)
    channels = len(mean) if isinstance(mean, Tensor) else 3
    batch = make_batch(task, 2, size, min(count_classes(model) or 2, 5), channels, masks=True)
    for sample in batch['data_samples']:
        if task == 'det':  # panoptic models
            halves = torch.arange(2).repeat(size[0], size[1] // 2)[None]
            sample.gt_sem_seg = PixelData(sem_seg=halves)
        if task == 'seg':  # estimation of depth
            sample.gt_depth_map = PixelData(data=torch.rand(1, *size))
    return batch


def train_plainly(model: nn.Module) -> dict[str, Any]:
    """Take a training step on the smallest images that a model trains on; return the batch.

    Raises:
        Exception: What the model raises for the smallest images, if it trains on none.
    """
    reasons: list[Exception] = []
    for size in probe_sizes([model]):
        try:
            batch = batch_for(model, size)
            data = model.train().data_preprocessor(deepcopy(batch), True)
            losses = model(**data, mode='loss')
            assert any('loss' in name for name in losses), f'no loss in {list(losses)}'
            return batch
        except Exception as error:
            reasons.append(error)
            if isinstance(error, (AttributeError, ImportError, KeyError, TypeError)):
                break  # not about the size
    raise next((e for e in reasons if isinstance(e, NotImplementedError)), reasons[0])


def attempt(path: Path, package: str) -> dict[str, Any]:
    """Take one step of a config that is its own teacher; return what worked."""
    cfg = Config.fromfile(path)
    cfg.default_scope = cfg.get('default_scope') or package
    preprocessor = cfg.model.get('data_preprocessor') or {}
    preprocessor.pop('batch_augments', None)  # such as padding to the published size
    if 'size' in preprocessor:
        preprocessor.update(size=None, size_divisor=32)
    row: dict[str, Any] = {}
    batch: dict[str, Any] | None = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope), TemporaryDirectory() as folder:
        try:
            model = build_plain(cfg, 'model')
            model.init_weights()
            row['model'] = type(model).__name__
            batch = train_plainly(deepcopy(model))  # some keep results of a step
            row['size'] = list(batch['inputs'][0].shape[1:])
        except Exception as error:
            row.update(plain=one_line(error), trace=traceback.format_exc())
        if 'model' not in row:
            return row
        checkpoint = f'{folder}/teacher.pth'
        torch.save(dict(state_dict=model.state_dict()), checkpoint)
        teacher = dict(config=cfg, checkpoint=checkpoint)
        taps, failed = call(find_taps, model)
        if failed:
            return dict(row, teacher=failed)
        row['taps'] = {part: tap['module'] for part, tap in taps.items()}
        if batch is not None:
            for parameter in model.parameters():
                parameter.data += 1e-3 * torch.randn_like(parameter)
            results, failed = call(learn, model, teacher, taps, batch)
            for part in taps if failed else ():  # which one is it?
                results[part] = call(learn, model, teacher, {part: taps[part]}, batch)[1] or 'ok'
            row.update(results)
        if 'ok' not in row.values():
            row['teacher'] = call(teach, teacher, taps)[1] or 'ok'
    return row


def call(function: Callable[..., Any], *args: Any) -> tuple[dict[str, Any], str]:
    """Return what a function returns, and what mmkd refuses it with or how it crashes."""
    try:
        return function(*args), ''
    except (ConfigError, NonFiniteError) as error:
        return {}, first_line(error)
    except Exception as error:
        traceback.print_exc()
        return {}, CRASH + one_line(error)


def learn(model: nn.Module, teacher: Any, taps: dict[str, Any], batch: Any) -> dict[str, str]:
    """Distill taps for one step; return ``'ok'`` for each that has a gradient."""
    methods = {part: dict(type='ZooMimic', student=t, teacher=t) for part, t in taps.items()}
    distilled(model, teacher=teacher, methods=methods)
    try:
        data = model.train().data_preprocessor(deepcopy(batch), True)
        losses = model(**data, mode='loss')
    finally:
        plain(model)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for part in taps:
        loss = losses[f'distill.{part}.loss_mse']
        gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        if not any(g is not None and g.isfinite().all() and g.any() for g in gradients):
            raise ValueError(f'{part}: no gradient')
    return dict.fromkeys(taps, 'ok')


def teach(config: Any, taps: dict[str, Any]) -> dict[str, str]:
    """Run a model as a teacher, without a student."""
    teacher = Teacher(**config)
    teacher.open_taps({Tap(**tap): 'teacher' for tap in taps.values()})
    size, _ = probe([teacher.model], None, teacher.probe)
    teacher.speed_up()
    found = teacher(*probe_batch(teacher.model, size))
    assert all(kept for kept in found.values()), 'nothing was read'
    return {}


def one_line(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    return f'{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}'


def run(path: Path, package: str, limit: float) -> dict[str, Any]:
    """Run one config with a time limit."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(attempt(path, package)))
    start = time.time()
    process.start()
    sender.close()
    row: dict[str, Any] = dict(package=package, folder=path.parent.name, config=path.name)
    try:
        if receiver.poll(limit):
            row |= receiver.recv()
        else:
            row['plain'] = f'not finished within {limit:.0f} s'
    except EOFError:
        row['plain'] = 'the process ended (memory)'
    process.kill()
    process.join()
    return dict(row, seconds=round(time.time() - start))


def main() -> None:
    """Run the zoo, print a line for each config and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--packages', nargs='+', default=list(PACKAGES), choices=PACKAGES)
    parser.add_argument('--folders', nargs='+', help='run these, even if the JSON file has them')
    parser.add_argument('--limit', type=float, default=600, help='seconds for each config')
    parser.add_argument('--json', type=Path, default=JSON)
    args = parser.parse_args()
    os.environ['HF_HUB_OFFLINE'] = '1'  # nothing is downloaded
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    torch.manual_seed(0)  # of every child
    MMLogger.get_instance('zoo', log_level='ERROR')
    rows = {(r['package'], r['folder']): r for r in (load(args.json) if args.json.exists() else [])}
    for package in args.packages:
        for folder, path in configs(package).items():
            if folder in args.folders if args.folders else (package, folder) not in rows:
                row = run(path, package, args.limit)
                print(row.pop('trace', ''), file=sys.stderr)
                print({key: value for key, value in row.items() if key != 'taps'}, flush=True)
                rows[package, folder] = row
                dump([rows[key] for key in sorted(rows)], args.json, indent=1)


if __name__ == '__main__':
    main()
