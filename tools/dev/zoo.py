"""Distill one config of every folder of mmdet's, mmseg's and mmpretrain's model zoos for one step.

Each config is its own teacher, with random weights. The last stage, the neck and the last module of
the heads are tapped; a child process builds, probes and takes one training step on random images.

``python tools/dev/zoo.py [--packages mmdet] [--folders dino] [--limit 180]``
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
import traceback
import warnings
from pathlib import Path
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
from mmkd.models.distilled import distilled
from mmkd.probe import probe
from mmkd.registry import MODELS, find_task
from mmkd.taps import flatten, forward
from mmkd.utils import ConfigError, count_classes
from mmkd.utils.loading import build_plain

PACKAGES = dict(mmdet=mmdet, mmseg=mmseg, mmpretrain=mmpretrain)
ROOT = Path(__file__).resolve().parents[2]
PAGE, JSON = ROOT / 'docs' / 'zoo.md', ROOT / 'docs' / 'results' / 'zoo.json'
#: Small models first: the position of the first match decides.
SMALL = (
    'r18',
    'tiny',
    'nano',
    'atto',
    'pico',
    '-t_',
    '-t-',
    's0',
    'b0',
    'small',
    'r34',
    'r50',
    'base',
)
HEADS = ('head', 'bbox_head', 'decode_head', 'roi_head', 'mask_head', 'panoptic_head', 'rpn_head')


@MODELS.register_module(force=True)
class ZooMimic(Method):
    """Mean squared difference of whatever is tapped."""

    def forward(self, student: Any, teacher: Any, view: Any) -> dict[str, Tensor]:
        """Return ``mse``."""
        pairs = list(zip(student, teacher, strict=True))
        for s, t in pairs:
            if s.shape != t.shape:
                raise ConfigError('student', f'{tuple(s.shape)} differs from {tuple(t.shape)}')
        return dict(mse=torch.stack([(s - t).square().mean() for s, t in pairs]).mean())


def configs(package: str) -> dict[str, Path]:
    """Return a small config of every folder of a package."""
    root = Path(PACKAGES[package].__file__).parent / '.mim' / 'configs'
    found = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name != '_base_'):
        files = [p for p in folder.glob('*.py') if has_model(p)]
        if files:
            found[folder.name] = min(files, key=rank)
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


def last_modules(model: nn.Module) -> tuple[tuple[int, int], dict[str, str]]:
    """Return the size of a probe batch, and what to tap: last stage, neck, last of a head."""
    called: list[str] = []

    def record(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if any(t.is_floating_point() for t in flatten(output)):
                called.append(name)

        return hook

    handles = [m.register_forward_hook(record(n)) for n, m in model.named_modules() if n]

    def run(inputs: Tensor, samples: Any) -> None:
        called.clear()
        try:
            forward(model, inputs, samples)
        except Exception:
            if not called:
                raise

    with torch.no_grad():
        size, _ = probe([model.eval()], None, run)
    for handle in handles:
        handle.remove()
    heads = [name for name in called if name.split('.')[0] in HEADS]
    taps = {name: name for name in ('backbone', 'neck') if name in called}
    if not taps and called:
        taps['first'] = called[0]
    if heads:
        taps['head'] = heads[-1]
    return size, taps


def batch_for(model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Return a random batch with every kind of annotation of the task."""
    task = find_task(model)
    assert task is not None
    mean = getattr(model.data_preprocessor, 'mean', None)
    channels = len(mean) if isinstance(mean, Tensor) else 3
    classes = min(count_classes(model) or 2, 5)
    batch = make_batch(task, 2, size, classes, channels, masks=True)
    if task == 'det':
        for sample in batch['data_samples']:
            label = torch.randint(0, 2, (1, *size), generator=torch.Generator().manual_seed(0))
            sample.gt_sem_seg = PixelData(sem_seg=label)
    return batch


def attempt(path: Path, package: str) -> dict[str, Any]:
    """Take one step of a config that is its own teacher; return what worked."""
    cfg = Config.fromfile(path)
    scope = cfg.get('default_scope') or package
    row: dict[str, Any] = dict(package=package, folder=path.parent.name, config=path.name)
    with DefaultScope.overwrite_default_scope(scope):
        try:
            model = build_plain(cfg, 'model')
            size, taps = last_modules(model)
            batch = batch_for(model, size)
            model.train()
            data = model.data_preprocessor(batch, True)
            sum_losses(model(**data, mode='loss'))
        except ConfigError as error:
            return {**row, 'plain': str(error)}
        except Exception as error:
            return {**row, 'plain': one_line(error), 'trace': traceback.format_exc()}
        row.update(type=type(model).__name__, size=list(size), taps=taps)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = f'{folder}/teacher.pth'
            torch.save(dict(state_dict=model.state_dict()), checkpoint)
            for part, module in taps.items():
                row[part] = step(cfg, scope, checkpoint, module, batch)
    return row


def step(cfg: Config, scope: str, checkpoint: str, module: str, batch: Any) -> str:
    """Distill one module for one step; return ``'ok'`` or what went wrong."""
    methods = dict(zoo=dict(type='ZooMimic', student=module, teacher=module))
    config = dict(model=cfg.model.to_dict(), default_scope=scope)
    if cfg.get('data_preprocessor') is not None:
        config['data_preprocessor'] = cfg.data_preprocessor.to_dict()
    try:
        model = build_plain(cfg, 'model')
        model.init_weights() if False else None
        distilled(model, teacher=dict(config=config, checkpoint=checkpoint), methods=methods)
        for parameter in model.parameters():
            parameter.grad = None
            if parameter.requires_grad:
                parameter.data += 1e-3 * torch.randn_like(parameter)
        data = model.train().data_preprocessor(make_copy(batch), True)
        losses = model(**data, mode='loss')
        if 'distill.zoo.loss_mse' not in losses:
            return 'CRASH: no distillation loss'
        losses['distill.zoo.loss_mse'].backward()
        if not any(p.grad is not None and p.grad.any() for p in model.parameters()):
            return 'CRASH: no gradient'
    except ConfigError as error:
        return str(error)
    except Exception as error:
        return f'CRASH: {one_line(error)} | {traceback.format_exc()[-1500:]}'
    return 'ok'


def make_copy(batch: dict[str, Any]) -> dict[str, Any]:
    """Copy a batch, whose samples models change."""
    samples = [sample.clone() for sample in batch['data_samples']]
    return dict(inputs=list(batch['inputs']), data_samples=samples)


def sum_losses(losses: dict[str, Any]) -> None:
    """Check that there is a loss to train."""
    assert any('loss' in name for name in losses), f'no loss in {list(losses)}'


def one_line(error: BaseException) -> str:
    """Return type and message of an error."""
    return f'{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ""}'


def child(queue: Any, path: Path, package: str) -> None:
    """Run one config in a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    MMLogger.get_instance('zoo', log_level='ERROR')
    try:
        queue.put(attempt(path, package))
    except BaseException as error:
        queue.put(
            dict(package=package, folder=path.parent.name, config=path.name, plain=one_line(error))
        )


def run(path: Path, package: str, limit: float) -> dict[str, Any]:
    """Run one config with a time limit."""
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=child, args=(queue, path, package))
    start = time.time()
    process.start()
    row = dict(package=package, folder=path.parent.name, config=path.name)
    while process.is_alive() and time.time() - start < limit:
        if not queue.empty():
            break
        time.sleep(0.2)
    try:
        row = queue.get(timeout=1)
    except Exception:
        row['plain'] = f'not within {limit:.0f} s' if process.is_alive() else 'killed (memory)'
    process.kill()
    process.join()
    row['seconds'] = round(time.time() - start, 1)
    return row


def main() -> None:
    """Run the zoo and print a line for each config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--packages', nargs='+', default=list(PACKAGES))
    parser.add_argument('--folders', nargs='+')
    parser.add_argument('--limit', type=float, default=180)
    parser.add_argument('--json', type=Path, default=JSON)
    args = parser.parse_args()
    known = load(args.json) if args.json.exists() else []
    rows = {(row['package'], row['folder']): row for row in known}
    for package in args.packages:
        for folder, path in configs(package).items():
            if args.folders and folder not in args.folders:
                continue
            row = run(path, package, args.limit)
            rows[package, folder] = row
            shown = {
                k: str(v)[:160]
                for k, v in row.items()
                if k not in ('package', 'folder', 'trace', 'taps')
            }
            print(package, folder, shown, flush=True)
            dump([rows[key] for key in sorted(rows)], args.json, indent=1)


if __name__ == '__main__':
    main()
