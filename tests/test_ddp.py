"""Two processes equal one: gloo ranks on the CPU, without a search for unused parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.tiny_models import LOGITS, MIMIC, TASKS, make_student, teacher_config
from support.tiny_models import preprocessed as preprocess
from support.two_ranks import as_rank, results_of
from torch import nn

STEPS = 4
# Methods for classifiers: one with branches, one whose loss is over the images of all processes.
EMBEDDING = dict(module='head.fc', source='input')
CLASSIFIERS = dict(
    ofa=dict(
        type='mmkd.OFA',
        student=dict(logits='head.fc', stages=['backbone.layer3', 'backbone.layer4']),
        teacher='head.fc',
    ),
    angles=dict(type='mmkd.CosPress', student=EMBEDDING, teacher=EMBEDDING),
)


def student_of(task: str, folder: Path) -> nn.Module:
    """Return a student without statistics over the batch, and methods that pause."""
    # The heads' loss is one over all ranks' objects; the region's is a mean over a rank's cells.
    heads = dict(type='mmkd.DAM', region_weight=0.0) if task == 'det' else None
    model = make_student(
        task,
        teacher=teacher_config(task, folder),
        mixer=dict(type='mmkd.PatchMix', num_images=1),
        methods=dict(
            feature=dict(MIMIC[task], weight=dict(value=1.0, every=2), region=heads),
            late=dict(MIMIC[task], weight=dict(value=1.0, begin=3)),
            # Softmax, as binary divergences are weighted over the whole batch.
            logits=dict(LOGITS[task], activation='softmax', weight=0.5),
            **(CLASSIFIERS if task == 'cls' else {}),
        ),
    )
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


def task_loss(model: nn.Module, losses: dict) -> torch.Tensor:
    """Return what is a mean over images: the distillation losses, and a classifier's own."""
    kept = {k: v for k, v in losses.items() if 'distill' in k or k == 'loss'}
    total = sum(kept.values())
    # The other losses are normalised per rank by mmdet and mmseg: only keep them in the graph.
    rest = [v for k, v in losses.items() if 'loss' in k and k not in kept]
    return total + 0.0 * sum(sum(v) if isinstance(v, list) else v for v in rest)


def gradients(model: nn.Module, batches: list, wrapped: nn.Module | None = None) -> list[dict]:
    """Step through the batches; return the gradients of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    hub = MessageHub.get_current_instance()
    seen = []
    for iteration, (inputs, samples) in enumerate(batches):
        hub.update_info('iter', iteration)
        losses = (wrapped or model)(inputs, samples, mode='loss')
        optimizer.zero_grad()
        task_loss(model, losses).backward()
        seen.append({k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
    return seen


def batches_of(model: nn.Module, task: str) -> list:
    return [preprocess(model, task, num=4, size=96, seed=i) for i in range(STEPS)]


def work(rank: int, folder: Path):
    """One of two processes: two of the four images of every batch, of all tasks."""
    results = {}
    for task in TASKS:
        model = student_of(task, folder)
        if rank == 1:  # DDP makes the initial weights equal, adapters included
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
        wrapped = MMDistributedDataParallel(
            model, broadcast_buffers=False, find_unused_parameters=False
        )
        part = slice(2 * rank, 2 * rank + 2)
        batches = [(x[part], s[part]) for x, s in batches_of(model, task)]
        results[task] = gradients(model, batches, wrapped), list(wrapped.state_dict())
    return results


@pytest.fixture(scope='module')
def both_ranks(tmp_path_factory):
    """The results of two processes, and the folder with their teachers."""
    folder = tmp_path_factory.mktemp('ddp')
    for task in TASKS:
        teacher_config(task, folder)
    return results_of(__file__, folder), folder


@pytest.mark.ddp
@pytest.mark.parametrize('task', TASKS)
def test_two_processes_equal_one(task, both_ranks):
    """Gradients of every step, those with a skipped method included."""
    results, folder = both_ranks
    model = student_of(task, folder)
    expected = gradients(model, batches_of(model, task))
    (first, names), (second, _) = (result[task] for result in results)
    assert names == [f'module.{k}' for k in make_student(task).state_dict()]
    for iteration in range(STEPS):
        assert first[iteration].keys() == second[iteration].keys() == expected[iteration].keys()
        for name, value in first[iteration].items():
            assert torch.equal(value, second[iteration][name]), name
            torch.testing.assert_close(
                value,
                expected[iteration][name],
                rtol=1e-3,
                atol=1e-5,
                msg=lambda m, name=name, i=iteration: f'{name} in step {i}: {m}',
            )
    # The methods really paused and ran.
    adapter = next(
        k
        for k in expected[0]
        if k.startswith('distiller.methods.feature.') and '.plugins.' not in k
    )
    late = adapter.replace('.feature.', '.late.')
    assert [bool(step[adapter].any()) for step in expected] == [True, False, True, False]
    assert [bool(step[late].any()) for step in expected] == [False, False, False, True]


if __name__ == '__main__':
    as_rank(work)
