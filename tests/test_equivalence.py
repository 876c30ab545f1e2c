"""Without distillation nothing happens: real runs give the plain student's parameters, bit for bit.

And with a teacher that differs they do not, so that these comparisons can fail.
"""

from __future__ import annotations

import pytest
import torch
from support.runs import run_config, train
from support.tiny_models import LOGITS, MIMIC, TASKS, teacher_config

from mmkd.models.distilled import DistilledMixin

STEPS = dict(train_cfg=dict(by_epoch=False, max_iters=3))


def weights(cfg):
    """Run three steps; return the state dict, the optimizer's momenta, and the model."""
    runner = train(cfg)
    state = {name: value.clone() for name, value in runner.model.state_dict().items()}
    optimizer = runner.optim_wrapper.optimizer
    momenta = {
        name: optimizer.state[p]['momentum_buffer'].clone()
        for name, p in runner.model.named_parameters()
        if not name.startswith('distiller') and p in optimizer.state
    }
    return state, momenta, runner.model


def differing(a, b):
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope='module', params=TASKS)
def plain_run(request, shapes, tmp_path_factory):
    """The plain student: a config that has never heard of mmkd."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = run_config(request.param, shapes, folder / 'plain', **STEPS)
    del cfg.default_hooks['distill']
    return request.param, *weights(cfg)


def distill_of(task, folder, weight):
    return dict(
        teacher=teacher_config(task, folder),
        mixer=dict(type='mmkd.PatchMix'),
        methods=dict(
            feature=dict(MIMIC[task], weight=weight),
            logits=dict(LOGITS[task], weight=dict(value=weight, warmup_iters=2)),
        ),
    )


def test_distill_none(plain_run, shapes, tmp_path):
    """As ``--cfg-options model.distill=None`` makes of a distillation config."""
    task, state, momenta, _ = plain_run
    cfg = run_config(task, shapes, tmp_path, distill_of(task, tmp_path, 1.0), **STEPS)
    cfg.merge_from_dict({'model.distill': None})
    assert cfg.model.type == 'mmkd.Distilled'
    got, got_momenta, model = weights(cfg)
    assert differing(state, got) == [] and differing(momenta, got_momenta) == []
    assert not isinstance(model, DistilledMixin) and not hasattr(model, 'distiller')


def test_all_weights_zero(plain_run, shapes, tmp_path):
    task, state, momenta, _ = plain_run
    cfg = run_config(task, shapes, tmp_path, distill_of(task, tmp_path, 0.0), **STEPS)
    got, got_momenta, model = weights(cfg)
    assert isinstance(model, DistilledMixin) and len(model.distiller.methods) == 2
    # Zeros as gradients would change the last bit of a clipped norm now and then.
    assert list(model.distiller.parameters())
    assert all(p.grad is None for p in model.distiller.parameters())
    assert differing(state, got) == [] and differing(momenta, got_momenta) == []


def test_distillation_does_something(plain_run, shapes, tmp_path):
    task, state, _, _ = plain_run
    cfg = run_config(task, shapes, tmp_path, distill_of(task, tmp_path, 1.0), **STEPS)
    got, _, model = weights(cfg)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    changed = set(differing(state, got)) & trained
    assert len(changed) > 0.9 * len([n for n in trained if not n.startswith('distiller')])
