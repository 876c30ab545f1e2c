"""A loss that is not finite on one rank of two: both agree about the step, and nobody waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.tiny_models import LOGITS, make_student, preprocessed, teacher_config
from support.two_ranks import as_rank, results_of

from mmkd.methods import Method
from mmkd.registry import MODELS
from mmkd.utils import progress


@MODELS.register_module(force=True)
class OverflowsOnOneRank(Method):
    """A loss that is infinite in the second iteration on the second rank."""

    def __init__(self, student, **kwargs):
        super().__init__(student, **kwargs)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, view):
        bad = progress()[0] == 1 and get_rank() == 1
        return dict(big=(self.scale * student[0]).square().mean() * (float('inf') if bad else 1.0))


def work(rank: int, folder: Path):
    results = {}
    for policy in ('skip_step', 'drop_kd'):
        model = make_student(
            'cls',
            teacher=teacher_config('cls', folder),
            on_nonfinite=policy,
            methods=dict(
                big=dict(type='mmkd.OverflowsOnOneRank', student='head.fc'), logits=LOGITS['cls']
            ),
        )
        wrapped = MMDistributedDataParallel(
            model, broadcast_buffers=False, find_unused_parameters=False
        )
        seen = []
        for iteration in range(3):
            MessageHub.get_current_instance().update_info('iter', iteration)
            batch = preprocessed(model, 'cls', seed=2 * iteration + rank)
            losses = wrapped(*batch, mode='loss')
            model.zero_grad()
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
            seen.append((model.distiller.guard.skipped, sorted(losses), gradients))
        results[policy] = seen
    return results


@pytest.fixture(scope='module')
def both_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ddp')
    teacher_config('cls', folder)
    return results_of(__file__, folder)


@pytest.mark.ddp
@pytest.mark.parametrize('policy', ['skip_step', 'drop_kd'])
def test_both_ranks_agree(policy, both_ranks):
    first, second = (result[policy] for result in both_ranks)
    skip = policy == 'skip_step'
    for iteration, (a, b) in enumerate(zip(first, second, strict=True)):
        assert a[0] == b[0] == (skip and iteration == 1)
        for name, gradient in a[2].items():
            assert torch.equal(gradient, b[2][name]), name
            assert gradient.isfinite().all()
        assert any(g.any() for g in a[2].values()) != a[0]
    if skip:
        assert first[1][1] == second[1][1] == ['distill.loss_skipped']
    else:
        assert 'distill.big.loss_big' in first[1][1]
        assert 'distill.big.loss_off' in second[1][1]


if __name__ == '__main__':
    as_rank(work)
