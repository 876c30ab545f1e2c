"""Mixed precision, gradient accumulation, averaged weights and compilation, with each task."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from support.runs import run_config, train
from support.tiny_models import LOGITS, MIMIC, TASKS, make_student, teacher_config

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="mmengine's AmpOptimWrapper refuses to run on a CPU"
)


@OPTIM_WRAPPERS.register_module(force=True)
class CpuAmpOptimWrapper(OptimWrapper):
    """What AmpOptimWrapper does, on a CPU: autocast, and a GradScaler for fp16."""

    def __init__(self, dtype, **kwargs):
        super().__init__(**kwargs)
        self.dtype = getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler('cpu', enabled=dtype == 'float16')
        self.updates = 0

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.updates += 1

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', dtype=self.dtype):
            yield


def distill_of(task, folder):
    return dict(
        teacher=teacher_config(task, folder),
        mixer=dict(type='mmkd.PatchMix'),
        methods=dict(feature=dict(MIMIC[task], normalize='channel'), logits=LOGITS[task]),
    )


def check(runner: Runner, task: str) -> None:
    """The run saw finite distillation losses and trained student and adapters."""
    scalars = runner.message_hub.log_scalars
    for name in ('distill.feature.loss_mimic', 'distill.logits.loss_kd', 'loss'):
        values = scalars[f'train/{name}'].data[0]
        assert len(values) == runner.iter and all(map(float.__lt__, [0.0] * len(values), values))
        assert max(values) < float('inf')
    fresh = make_student(task)
    moved = [
        name
        for name, parameter in runner.model.named_parameters()
        if not name.startswith('distiller')
        and not torch.equal(parameter.cpu(), fresh.get_parameter(name))
    ]
    assert moved
    assert all(p.isfinite().all() for p in runner.model.parameters())
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision_with_accumulation_and_averages(task, dtype, shapes, tmp_path):
    """All three together, as they are in practice; three iterations to an update, the rest last."""
    cfg = run_config(
        task,
        shapes,
        tmp_path / 'run',
        distill_of(task, tmp_path),
        epochs=1,
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
    )
    cfg.optim_wrapper.update(type='CpuAmpOptimWrapper', dtype=dtype, accumulative_counts=3)
    runner = train(cfg)
    check(runner, task)
    assert runner.iter == 4 and runner.optim_wrapper.updates == 2
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model.module
    assert list(ema.state_dict()) == list(runner.model.state_dict())
    assert type(ema.distiller.teachers['']) is type(runner.model.distiller.teachers[''])
    assert ema.distiller.teachers[''] is runner.model.distiller.teachers['']
    differ = [
        k for k, v in ema.named_parameters() if not torch.equal(v, runner.model.get_parameter(k))
    ]
    assert differ


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_a_compiled_step_equals_one_that_is_not(task, shapes, tmp_path):
    """Distillation steps are left alone, and the run says so."""
    torch._dynamo.reset()
    states = []
    for compiled in (False, dict(backend='eager')):
        cfg = run_config(
            task,
            shapes,
            tmp_path / f'run{bool(compiled)}',
            distill_of(task, tmp_path),
            train_cfg=dict(by_epoch=False, max_iters=2),
        )
        cfg.compile = compiled
        runner = train(cfg)
        states.append(dict(runner.model.state_dict()))
    torch._dynamo.reset()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision_on_a_gpu(task, dtype, shapes, tmp_path):
    cfg = run_config(task, shapes, tmp_path / 'run', distill_of(task, tmp_path), epochs=2)
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype, loss_scale='dynamic')
    check(train(cfg), task)
