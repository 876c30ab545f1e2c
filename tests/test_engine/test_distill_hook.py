"""The report of the first step in the log."""

from __future__ import annotations

import json
import re

import pytest
import torch
from mmengine.runner import Runner
from support.runs import run_config, train
from support.tiny_models import (
    LOGITS,
    MIMIC,
    TASKS,
    losses_of,
    make_student,
    preprocessed,
    teacher_config,
)

from mmkd.cli.train import add_hook, protect_adapters
from mmkd.engine import DistillHook
from mmkd.models import distilled
from mmkd.models.first_step import FirstStep
from mmkd.utils import ConfigError


def distill_of(task, folder, **methods):
    return dict(
        teacher=teacher_config(task, folder, **methods.pop('teacher', {})),
        methods=methods or dict(feature=MIMIC[task], logits=dict(LOGITS[task], weight=0.5)),
    )


def observed(task, distill, **kwargs):
    """Return the losses, gradients by method, and the report of one step."""
    model = make_student(task, **distill)
    model.distiller.first_step = FirstStep()
    losses = losses_of(model, *preprocessed(model, task, **kwargs))
    return model, losses, model.distiller.first_step.report(model.distiller.teachers)


def row(report: str, name: str) -> list[str]:
    """Return the cells of one row."""
    rows = [
        [cell.strip() for cell in line.split('│')[1:-1]]
        for line in report.splitlines()
        if line.startswith('│')
    ]
    (found,) = [cells for cells in rows if cells[0] == name]
    return found


@pytest.mark.parametrize('task', TASKS)
def test_report(task, tmp_path):
    """The numbers equal those of the step."""
    distill = distill_of(task, tmp_path)
    model, losses, report = observed(task, distill)
    tasks = {k: float(v.detach()) for k, v in losses.items() if 'loss' in k and 'distill' not in k}
    for name, value in tasks.items():
        assert row(report, name)[2] == f'{value:.4g}'
    own = [p for n, p in model.named_parameters() if 'distiller' not in n]

    def gradient(loss):
        found = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True)
        zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(own, found)]
        return torch.cat([g.flatten() for g in zeros])

    of_task = gradient(sum(losses[name] for name in tasks))
    of_all = torch.zeros_like(of_task)
    for name, weight in {
        'distill.feature.loss_mimic': '1',
        'distill.logits.loss_kd': '0.5',
    }.items():
        of_loss = gradient(losses[name])
        of_all += of_loss
        cells = row(report, name)
        assert cells[1] == weight
        assert float(cells[2]) == pytest.approx(float(losses[name].detach()), rel=1e-3)
        assert float(cells[3]) == pytest.approx(
            float(losses[name].detach()) / sum(tasks.values()), abs=1e-3
        )
        assert float(cells[4]) == pytest.approx(float(of_loss.norm()), rel=1e-2)
        share = float(of_loss.norm() / of_task.norm())
        assert float(cells[5]) == pytest.approx(share, rel=1e-2)
        cosine = float(torch.cosine_similarity(of_loss, of_task, 0))
        assert float(cells[6]) == pytest.approx(cosine, abs=0.01)
    assert float(row(report, 'distillation, all')[4]) == pytest.approx(
        float(of_all.norm()), rel=1e-2
    )
    teacher = model.distiller.teachers['']
    checkpoint = torch.load(distill['teacher']['checkpoint'])
    entries = len(checkpoint['state_dict'])
    kind = type(teacher.model).__name__
    assert f'teacher: {kind}, checkpoint entries matched {entries}, missing 0' in report
    assert f'unexpected 0; hash {teacher.hash}' in report
    assert f'runs in fp32, {len(teacher.fused)} conv-BN pairs fused' in report
    for side in ('student', 'teacher'):
        module = distill['methods']['logits'][side]
        lines = [li for li in report.splitlines() if side in li and f' {module} ' in li]
        assert len(lines) == 1 and re.search(r'2×\d+', lines[0])


def test_no_gradients_are_left_on_the_student(tmp_path):
    model, _, _ = observed('cls', distill_of('cls', tmp_path))
    assert all(p.grad is None for p in model.parameters())


def test_warnings_for_weights_that_are_off(tmp_path):
    for weight, text in ((1e4, 'which it will dominate'), (1e-9, 'hardly have an effect')):
        method = dict(MIMIC['cls'], weight=weight)
        _, _, report = observed('cls', distill_of('cls', tmp_path, feature=method))
        pattern = rf'WARNING: distill.feature.loss_mimic has .*{text}: a weight of (\S+) would give'
        method['weight'] = dict(value=float(re.search(pattern, report)[1]), warmup_iters=10)
        model, _, report = observed('cls', distill_of('cls', tmp_path, feature=method))
        assert 'WARNING' not in report
        share = model.distiller.first_step.rows[0].share
        assert share == pytest.approx(0.5, rel=0.1)


def test_renormalized_teachers_and_inherited_parts_are_mentioned(tmp_path):
    other = dict(type='ClsDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3, to_rgb=True)
    distill = distill_of('cls', tmp_path, feature=MIMIC['cls'])
    assert 're-normalized' not in observed('cls', distill)[2]
    distill['teacher']['config']['model']['data_preprocessor'] = other
    distill['inherit'] = ('head',)
    model = distilled(make_student('cls'), **distill)
    model.distiller.first_step = FirstStep()
    model.distiller.inherit_weights(model)
    assert not model.distiller._inheritable  # or the teacher's fp32 weights would stay in memory
    losses_of(model, *preprocessed(model, 'cls'))
    report = model.distiller.first_step.report(model.distiller.teachers)
    assert 're-normalized' in report
    assert 'inherited 1 of 2 entries of head from the teacher' in report


@pytest.mark.parametrize('begin', [0, 2])
def test_once_per_run_at_the_first_step_with_a_method(begin, shapes, tmp_path):
    method = dict(MIMIC['cls'], weight=dict(value=1.0, begin=begin))
    distill = dict(distill_of('cls', tmp_path, feature=method), inherit=('head',))
    runner = Runner.from_cfg(run_config('cls', shapes, tmp_path, distill, epochs=1))
    reports = []
    info = runner.logger.info

    def note(message, *args, **kwargs):
        if 'First distillation step' in str(message):
            reports.append((runner.iter, message))
        return info(message, *args, **kwargs)

    runner.logger.info = note
    runner.train()
    ((at, text),) = reports
    assert at == begin
    assert 'inherited 1 of 2 entries of head' in text
    assert runner.model.distiller.first_step is None


def test_losses_are_logged_by_name(shapes, tmp_path):
    # Not for classifiers: their own `loss` hides the sum in OpenMMLab's log.
    runner = train(run_config('seg', shapes, tmp_path, distill_of('seg', tmp_path), epochs=1))
    scalars = runner.message_hub.log_scalars
    assert {'train/distill.feature.loss_mimic', 'train/distill.logits.loss_kd'} <= set(scalars)
    total = scalars['train/loss'].data[0]
    parts = [v.data[0] for k, v in scalars.items() if 'loss' in k and k != 'train/loss']
    for step in range(len(total)):
        assert float(total[step]) == pytest.approx(sum(float(p[step]) for p in parts), rel=1e-4)


def test_the_hook_is_idle_without_distillation(shapes, tmp_path):
    runner = train(run_config('cls', shapes, tmp_path, epochs=1))
    assert any(isinstance(hook, DistillHook) for hook in runner.hooks)
    content = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    assert 'distiller' not in content


def test_the_report_is_repeated_and_written(shapes, tmp_path, monkeypatch):
    """Twenty measurements in a run, of which two are reported; here after every second step."""
    monkeypatch.setattr('mmkd.engine.hooks.distill_hook.SHORTEST', 2)
    runner = train(run_config('seg', shapes, tmp_path, distill_of('seg', tmp_path)))
    reports = json.loads((tmp_path / 'first_step.json').read_text())
    assert [report['step'] for report in reports] == [1, 2]
    text = (tmp_path / 'first_step.txt').read_text()
    assert text.index('First distillation step') < text.index('Distillation step 2')
    names = ['distill.feature.loss_mimic', 'distill.logits.loss_kd', 'distillation, all']
    assert [row['name'] for row in reports[1]['losses']] == names
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    shares = {row['step']: row for row in rows if 'distill.gradient_to_task' in row}
    assert sorted(shares) == [1, 2, 4, 6, 8]
    assert shares[2]['distill.feature.mimic.gradient_to_task'] == pytest.approx(
        reports[1]['losses'][0]['share']
    )
    assert runner.iter == 8


def test_measuring_does_not_change_the_training(shapes, tmp_path, monkeypatch):
    weights = []
    for shortest in (100, 1):
        monkeypatch.setattr('mmkd.engine.hooks.distill_hook.SHORTEST', shortest)
        cfg = run_config('cls', shapes, tmp_path / str(shortest), distill_of('cls', tmp_path))
        weights.append(train(cfg).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_without_the_hook_says_so_once(shapes, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmkd.models.distiller.log_warning', said.append)
    cfg = run_config('cls', shapes, tmp_path, distill_of('cls', tmp_path), epochs=1)
    cfg.default_hooks.pop('distill')
    train(cfg)
    assert sum('default_hooks.distill is missing' in text for text in said) == 1
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'resumed'), f'{tmp_path}-resumed'
    cfg.default_hooks.distill = dict(type='mmkd.DistillHook')
    cfg.resume, cfg.load_from = True, str(tmp_path / 'epoch_1.pth')
    cfg.train_cfg.max_epochs = 2
    with pytest.raises(ConfigError, match='its run had no distillation or no DistillHook'):
        Runner.from_cfg(cfg).train()


def test_tools_train_adds_the_hook_and_protects_adapters(shapes, tmp_path):
    """A method called head_… does not get the learning rate of the student's head."""
    methods = dict(head_mimic=MIMIC['cls'], logits=LOGITS['cls'])
    cfg = run_config('cls', shapes, tmp_path, distill_of('cls', tmp_path, **methods), epochs=1)
    cfg.default_hooks.pop('distill')
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(head=dict(lr_mult=10.0)))
    add_hook(cfg)
    protect_adapters(cfg)
    assert cfg.default_hooks.distill.type == 'mmkd.DistillHook'
    runner = Runner.from_cfg(cfg)
    optimizer = runner.build_optim_wrapper(runner.optim_wrapper).optimizer
    names = {id(p): name for name, p in runner.model.named_parameters()}
    rates = {names[id(p)]: g['lr'] for g in optimizer.param_groups for p in g['params']}
    assert rates['head.fc.weight'] == pytest.approx(0.1)
    adapters = [rate for name, rate in rates.items() if name.startswith('distiller.')]
    assert adapters and all(rate == pytest.approx(0.01) for rate in adapters)


def test_a_saturated_student_is_told_from_a_missing_path(tmp_path):
    """Its gradient is zero in this step, which is no mistake of the config."""
    model = make_student('cls', **distill_of('cls', tmp_path, logits=LOGITS['cls']))
    model.head.fc.register_forward_hook(lambda module, args, out: out * 0.0 + 1.0)
    model.distiller.first_step = FirstStep()
    losses_of(model, *preprocessed(model, 'cls'))
    (warning,) = model.distiller.first_step.warnings()
    assert 'distill.logits.loss_kd has a zero gradient' in warning and 'saturated' in warning
