"""Every distillation config that mmkd ships: parses, builds, steps, saves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from support.helpers import (
    CONFIGS,
    all_bases_of,
    bases_of,
    build,
    find,
    make_batch,
    read_config,
    student_of,
    task_of,
    tensors_of,
    tiny_distilled,
)
from torch import nn

import mmkd  # noqa: F401
from mmkd.utils.loading import load_config
from mmkd.utils.student_config import learns_from_pairs, pairs_images, plain_batch_size

# Folders of configs/ that hold configs but no distillation method.
NO_METHODS = ('_base_', 'students', 'teachers')
NAME = re.compile(r'[a-z0-9.+-]+_[a-z0-9.+-]+_[a-z0-9.+-]+_[a-z0-9.+-]+\.py')
FOLDERS = sorted({p.parent for p in CONFIGS.glob('*/*.py')} - {CONFIGS / n for n in NO_METHODS})
FILES = [path for folder in FOLDERS for path in sorted(folder.glob('*.py'))]
PACKAGES = ('mmdet', 'mmseg', 'mmpretrain')
PAIRS = sorted((CONFIGS / '_base_' / 'pairs').glob('*.py'))
GOLDEN = Path(__file__).parent / 'golden' / 'golden_steps.json'
# Where the weights of upstream teachers were when the configs named their addresses.
WEIGHTS = json.loads((Path(__file__).parent / 'golden' / 'teacher_weights.json').read_text())
# Large enough for five pyramid levels, no larger.
SIZES = dict(det=128, seg=(64, 128), cls=64)
# Pairs with a model that takes images of one size.
ONE_SIZE = re.compile(r'(vit|deit|mixer)_(?!self_).*|resnet_(mixer|swin)-.*')

every_file = pytest.mark.parametrize('path', FILES, ids=lambda p: f'{p.parent.name}/{p.stem}')


def skip_without_packages(path: Path) -> None:
    """Skip a config of an OpenMMLab package that is not installed."""
    bases = all_bases_of(path)
    for name in PACKAGES:
        if any(base.startswith(f'{name}::') for base in bases):
            pytest.importorskip(name)


def teachers_of(cfg: Config) -> list[dict]:
    """Return the configs of all teachers."""
    teacher = cfg.model.get('distill', {}).get('teacher')
    if not teacher:
        return []
    return [teacher] if 'config' in teacher else list(teacher.values())


def machine() -> dict[str, str]:
    """Return what decides how floating-point sums are rounded."""
    return dict(torch=torch.__version__, cpu=torch.backends.cpu.get_cpu_capability())


def publish_epoch(epoch: int) -> None:
    """Publish an epoch of two, as the Runner does."""
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', epoch)
    hub.update_info('max_epochs', 2)


def show_training_data(model: nn.Module, batch: dict) -> None:
    """Let the methods look at one batch, as at the start of an epoch."""
    for method in model.distiller.methods.values():
        method.before_epoch(model, [batch])


def say_it_once(model: nn.Module, cfg: Config, data: dict) -> None:
    """Take the steps before the one in which a student learns of what it has said itself."""
    if has_previous_batches(cfg):  # the second half of a batch comes again
        half = {name: value[len(value) // 2 :] for name, value in data.items()}
        model(**half, mode='loss')
        return
    for epoch in (0, 1):
        publish_epoch(epoch)
        model(**data, mode='loss')
    with torch.no_grad():  # in the meantime it changes its mind
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def two_more_steps(model: nn.Module, cfg: Config, data: dict) -> list[dict]:
    """Update the parameters twice, and return the logged losses behind each update."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    logs = []
    for iteration in (1, 2):
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        MessageHub.get_current_instance().update_info('iter', iteration)
        if has_previous_batches(cfg):  # the images that were new in the step before come second
            data = {name: swap_halves(value) for name, value in data.items()}
        total, log = model.parse_losses(model(**data, mode='loss'))
        total.backward()
        logs.append(log)
    return logs


def has_previous_batches(cfg: Config) -> bool:
    """Whether half of a batch are the images of the batch before."""
    sampler = (cfg.train_dataloader.get('batch_sampler') or {}).get('type')
    return sampler == 'mmkd.PreviousBatchSampler'


def swap_halves(batch: Any) -> Any:
    """Swap the two halves of a tensor or a list."""
    first, second = batch[: len(batch) // 2], batch[len(batch) // 2 :]
    return second + first if isinstance(batch, list) else torch.cat([second, first])


def compare_golden(name: str, logs: list[dict]) -> None:
    """Compare the losses of three steps with those recorded for this config.

    With ``MMKD_RECORD=FOLDER`` they are written there, for ``tests/golden/record_steps.py``.
    """
    found = {key: [float(log[key].mean()) for log in logs if key in log] for key in logs[0]}
    if os.environ.get('MMKD_RECORD'):
        file = Path(os.environ['MMKD_RECORD']) / f'{name.replace("/", "@")}.json'
        file.write_text(json.dumps(found))
        return
    golden = json.loads(GOLDEN.read_text())
    # Other processors round otherwise, and three steps amplify it.
    same = golden['recorded_with'] == machine()
    tolerance = 1e-6 if same else 1e-3
    expected = golden['steps'][name]
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=tolerance, abs=tolerance / 10), key


def test_there_are_configs():
    assert len(FILES) >= 16


@every_file
def test_name(path):
    assert NAME.fullmatch(path.name), 'the pattern is <arch>_<teacher>_<student>_<data>.py'


@pytest.mark.slow
@every_file
def test_extends_its_base_and_nothing_else(path):
    skip_without_packages(path)
    cfg = read_config(path)
    base = student_of(path)
    assert cfg.model.type == 'mmkd.Distilled'
    assert cfg.model.student == base.model.type
    assert cfg.model.distill.methods
    assert cfg.default_hooks.distill.type == 'mmkd.DistillHook'
    assert 'custom_imports' not in cfg  # the registries find mmkd by its scope
    rest = cfg.to_dict()
    rest['model'].pop('distill')
    rest['model']['type'] = rest['model'].pop('student')
    rest['default_hooks'].pop('distill')
    if pairs_images(cfg):
        # Batches of pairs come with what learns from them, and from nowhere else.
        assert task_of(cfg) == 'cls' and learns_from_pairs(cfg)
        rest['train_dataloader'].pop('batch_sampler')
        rest['train_dataloader']['batch_size'] = plain_batch_size(cfg)  # as many steps
    if path.parent.name == 'gpd' and 'imagenet' in path.stem:  # the authors clip the gradient
        assert rest['optim_wrapper'].pop('clip_grad') == dict(max_norm=5.0)
    if path.parent.name == 'kd' and path.stem.endswith('cifar100') and 'r28x4' not in path.stem:
        # mdistiller weighs the cross-entropy 0.1 beside KD's 0.9.
        assert rest['model']['head']['loss'].pop('loss_weight') == 0.1
        rest['model']['head']['loss']['loss_weight'] = 1.0
    expected = base.to_dict()
    # A plain config may have no hooks of its own; here there is one.
    expected.setdefault('default_hooks', {})
    assert rest == expected


@every_file
def test_teacher(path):
    skip_without_packages(path)
    cfg = read_config(path)
    for teacher in teachers_of(cfg):
        teacher_cfg = read_config(teacher.config)
        assert 'mmkd' not in teacher_cfg.model.type
        assert find(teacher_cfg.model, 'num_classes') == find(cfg.model, 'num_classes')
        if teacher.config.partition('::')[0] in PACKAGES:
            assert teacher.checkpoint == 'auto' and teacher.config in WEIGHTS
        else:
            stem = Path(teacher.config.partition('::')[2]).stem
            assert teacher.checkpoint == f'work_dirs/teachers/{stem}/teacher.pth'


def test_the_old_cifar_pair_is_deprecated():
    pytest.importorskip('mmpretrain')
    with pytest.warns(DeprecationWarning, match=r'use resnet_r32x4_r8x4_cifar100\.py'):
        Config.fromfile(CONFIGS / 'kd' / 'resnet_r28x4_r14x4_cifar100.py')


@pytest.mark.parametrize('name', WEIGHTS)
def test_auto_is_the_published_weights(name):
    """OpenMMLab's own releases and the forks serve the same files from different hosts."""
    pytest.importorskip(name.partition('::')[0])
    _, address = load_config(name, 'teacher', weights=True)
    assert address is not None and urlparse(address).scheme == 'https'
    assert urlparse(address).path == urlparse(WEIGHTS[name]).path


def test_pairs_are_shared():
    """A pair of one config stays in it; a pair of two has a file."""
    users = Counter(base for path in FILES for base in all_bases_of(path))
    assert all(users[str(path)] > 1 and NAME.fullmatch(path.name) for path in PAIRS)
    inline: dict[str, Path] = {}
    for path in (*PAIRS, *FILES):
        (base,) = bases_of(path)
        if "type='mmkd.Distilled'" in path.read_text():
            student = base if '::' in base else str((path.parent / base).resolve())
            teachers = teachers_of(Config.fromfile(path))
            pair = json.dumps([student, *teachers], sort_keys=True)
            assert pair not in inline, (path, inline.get(pair))
            inline[pair] = path


@pytest.mark.slow
def test_mmengine_alone_finds_mmkd(tmp_path):
    """Models, hooks, samplers and metrics of mmkd are imported by their scope."""
    pytest.importorskip('mmpretrain')
    code = (
        'import sys\n'
        'from mmengine.config import Config\n'
        'from mmengine.registry import DATA_SAMPLERS\n'
        'from mmengine.runner import Runner\n'
        'cfg = Config.fromfile(sys.argv[1])\n'
        "cfg.work_dir, cfg.launcher = sys.argv[2], 'none'\n"
        "assert 'mmkd' not in sys.modules\n"
        'runner = Runner.from_cfg(cfg)\n'
        'runner.build_evaluator(cfg.val_evaluator)\n'
        'assert DATA_SAMPLERS.get(cfg.train_dataloader.batch_sampler.type)\n'
        "assert [h for h in runner.hooks if type(h).__name__ == 'DistillHook']\n"
        'assert runner.model.distiller.methods\n'
    )
    config = CONFIGS / 'cs-kd' / 'resnet_self_r18-w16_fashion-mnist.py'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(config), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@every_file
@pytest.mark.slow
def test_builds_steps_saves(path, tmp_path):
    skip_without_packages(path)
    cfg = Config.fromfile(path)
    task = task_of(cfg)
    size = 32 if 'cifar' in path.stem else SIZES[task]
    if cfg.model.distill.get('mixer'):
        cfg.model.distill.mixer.prob = 1.0
    config, student = tiny_distilled(cfg, tmp_path, size)
    torch.manual_seed(0)
    model = build(config, cfg.default_scope)
    model.init_weights()
    model.train()
    if 'probe_size' in cfg.model.distill or ONE_SIZE.fullmatch(path.stem):
        size = model.distiller.probe_size
    batch = make_batch(
        task,
        size=size,
        num_classes=find(student, 'num_classes'),
        channels=student['backbone'].get('in_channels', 3),
        masks=find(student, 'mask_head') is not None,
        paired=learns_from_pairs(cfg),
    )
    show_training_data(model, batch)
    data = model.data_preprocessor(batch, True)
    if not teachers_of(cfg):
        say_it_once(model, cfg, data)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()

    distilled = {name: value for name, value in log.items() if name.startswith('distill.')}
    assert {name.split('.')[1] for name in distilled} == set(cfg.model.distill.methods)
    assert all(torch.isfinite(value).all() for value in log.values()), log
    # Methods that replace a part of the student's own loss add a difference, of either sign, and
    # information is raised.
    differences = ('alpha', 'loss_class', 'loss_progressive', 'loss_tf', 'loss_cmi')
    for name, value in distilled.items():
        if name.endswith('loss_map'):  # an untrained transformer's embeddings are almost equal
            assert value >= 0, log
        else:
            assert value != 0 if name.endswith(differences) else value > 0, log
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    compare_golden(f'{path.parent.name}/{path.stem}', [log, *two_more_steps(model, cfg, data)])

    checkpoint = tmp_path / 'student.pth'
    torch.save(model.state_dict(), checkpoint)
    reference = build(student, cfg.default_scope)
    assert type(reference).__name__ == cfg.model.student
    state = torch.load(checkpoint)
    assert list(state) == list(reference.state_dict())
    reference.load_state_dict(state, strict=True)
    model.eval(), reference.eval()
    with torch.no_grad():
        outputs = [tensors_of(m(**data, mode='tensor')) for m in (model, reference)]
    assert outputs[0]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
