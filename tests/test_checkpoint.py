"""Every file that a run writes is a plain student's; resuming equals not having stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from support.runs import (
    BEST,
    Count,
    Stop,
    evaluation,
    everything,
    run_config,
    train,
    without_luck,
)
from support.tiny_models import (
    LOGITS,
    MIMIC,
    SCOPES,
    TASKS,
    make_student,
    model_config,
    preprocessed,
    teacher_config,
)

from mmkd.utils import ConfigError

# What a user without mmkd does with files.
LOADER = """
import json, sys
import torch
from mmengine.registry import MODELS
for scope, config, data, *files in json.loads(sys.argv[1]):
    model = MODELS.build(dict(config, _scope_=scope))
    inputs = torch.load(data)
    outputs = {}
    for file in files:
        content = torch.load(file, weights_only=False)
        model.load_state_dict(content['state_dict'], strict=True)
        model.eval()
        with torch.no_grad():
            outputs[file] = model(inputs, mode='tensor')
    torch.save(outputs, data + '.out')
assert 'mmkd' not in sys.modules
"""


def distill_of(task: str, folder: Path) -> dict:
    """Return methods with adapters and schedules, and a mixer that draws in every step."""
    return dict(
        teacher=teacher_config(task, folder),
        mixer=dict(type='mmkd.PatchMix', grid=(4, 4)),
        methods=dict(
            feature=dict(MIMIC[task], weight=dict(value=1.0, warmup_iters=6)),
            logits=dict(LOGITS[task], weight=dict(value=1.0, decay='cosine', every=2)),
        ),
    )


def tensors(output) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [t for item in output for t in tensors(item)]


@pytest.fixture(scope='module')
def interrupted(shapes, tmp_path_factory):
    """Folders of interrupted runs of all tasks, and of what their files give without mmkd."""
    folders = {task: tmp_path_factory.mktemp(task) for task in TASKS}
    jobs = []
    for task, folder in folders.items():
        cfg = run_config(
            task,
            shapes,
            folder / 'run',
            distill_of(task, folder),
            epochs=3,
            custom_hooks=[dict(type='EMAHook', momentum=0.5)],
            **evaluation(task, shapes),
        )
        cfg.default_hooks.checkpoint.update(save_best=BEST[task], rule='greater')
        runner = Runner.from_cfg(cfg)
        runner.register_hook(Stop(10))
        with pytest.raises(KeyboardInterrupt):
            runner.train()
        torch.save(preprocessed(make_student(task), task)[0], folder / 'inputs.pt')
        files = (folder / 'run').glob('*.pth')
        jobs.append([SCOPES[task], model_config(task), str(folder / 'inputs.pt'), *map(str, files)])
    done = subprocess.run(
        [sys.executable, '-c', LOADER, json.dumps(jobs)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folders


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_every_file_is_a_plain_students(task, interrupted):
    """The last one, the best one, one of averaged weights, and that of an interrupted run."""
    folder = interrupted[task]
    files = sorted((folder / 'run').glob('*.pth'))
    names = [file.name for file in files]
    assert names[1:] == ['epoch_1.pth', 'epoch_2.pth'] and names[0].startswith('best_')
    assert (folder / 'run' / 'last_checkpoint').read_text() == str(files[-1])

    plain = make_student(task)
    distilled = make_student(task, **distill_of(task, folder)).eval()
    adapters = {k: v.shape for k, v in distilled.distiller.state_dict().items()}
    inputs = torch.load(folder / 'inputs.pt')
    found = torch.load(folder / 'inputs.pt.out')
    assert found.keys() == set(map(str, files))
    for file in files:
        content = torch.load(file, weights_only=False)
        assert list(content['state_dict']) == list(plain.state_dict())
        assert list(content['state_dict']._metadata) == list(plain.state_dict()._metadata)
        averaged = {k for k in content['ema_state_dict'] if k != 'steps'}
        assert averaged == {f'module.{k}' for k in plain.state_dict()}
        assert {k: v.shape for k, v in content['distiller'].items()} == adapters
        assert not any(isinstance(v, torch.nn.Parameter) for v in content['distiller'].values())
        distilled.load_state_dict(content['state_dict'], strict=True)
        with torch.no_grad():
            expected = tensors(distilled(inputs, mode='tensor'))
        for a, b in zip(tensors(found[str(file)]), expected, strict=True):
            assert torch.equal(a, b)
    assert len({float(tensors(output)[0].sum()) for output in found.values()}) >= 2


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_resuming_equals_not_having_stopped(task, shapes, tmp_path):
    """Bit for bit: student, adapters, momenta; schedules and draws go on where they were."""

    def config(name):
        cfg = run_config(task, shapes, tmp_path / name, distill_of(task, tmp_path), epochs=3)
        return without_luck(cfg, task)

    whole = everything(train(config('whole')))
    cut = Runner.from_cfg(config('cut'))
    cut.register_hook(Stop(6))
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    cfg = config('cut')
    cfg.resume = True
    resumed = Runner.from_cfg(cfg)
    steps = []
    resumed.register_hook(Count(steps))
    torch.rand(7)  # the state of the global generator is another one
    resumed.train()
    assert steps == list(range(4, 12))
    got = everything(resumed)
    assert got.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(whole[name], got[name])] == []
    assert any(name.startswith('distiller.') for name in whole)


@pytest.mark.slow
def test_a_plain_run_cannot_be_resumed_with_adapters(shapes, tmp_path):
    """The other way round, loading weights, is possible."""
    train(run_config('cls', shapes, tmp_path, epochs=1))
    cfg = run_config('cls', shapes, tmp_path, distill_of('cls', tmp_path), epochs=2)
    cfg.resume = True
    with pytest.raises(ConfigError, match=r"^resume: .* no 'distiller' entry.*load_from"):
        train(cfg)
    cfg.update(resume=False, load_from=str(tmp_path / 'epoch_1.pth'), work_dir=str(tmp_path / 'b'))
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Stop(0))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    loaded = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, loaded[name])


@pytest.mark.slow
def test_other_methods_cannot_be_resumed(shapes, tmp_path):
    cfg = run_config('cls', shapes, tmp_path, distill_of('cls', tmp_path), epochs=1)
    train(cfg)
    other = distill_of('cls', tmp_path)
    other['methods']['hint'] = other['methods'].pop('feature')
    cfg = run_config('cls', shapes, tmp_path, other, epochs=2)
    cfg.resume = True
    with pytest.raises(ConfigError, match=r'^resume: .*does not match model\.distill\.methods'):
        train(cfg)


def test_the_plain_student_starts_from_the_file_of_a_distilled_run(shapes, tmp_path):
    train(run_config('cls', shapes, tmp_path / 'a', distill_of('cls', tmp_path), epochs=1))
    cfg = run_config('cls', shapes, tmp_path / 'b', epochs=1)
    del cfg.default_hooks['distill']
    cfg.load_from = str(tmp_path / 'a' / 'epoch_1.pth')
    runner = train(cfg)
    assert not hasattr(runner.model, 'distiller')
