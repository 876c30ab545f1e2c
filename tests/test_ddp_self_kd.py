"""What methods remember, average and learn on the side is the same on two ranks as in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.helpers import make_batch
from support.tiny_models import make_student, preprocessed
from support.two_ranks import as_rank, results_of
from support.views import random
from torch import nn

from mmkd.methods.prediction_table import PredictionTable
from mmkd.models import SideLearner

EPOCHS = 3
TAPS = dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,)))


def student() -> nn.Module:
    """Return a student without statistics over the batch."""
    model = make_student(
        'cls',
        methods=dict(
            past=dict(
                type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=8, dtype='fp32'
            ),
            uskd=dict(type='mmkd.USKD', student=TAPS, sync_mean=True),
        ),
    )
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def steps(model: nn.Module, part: slice, wrapped: nn.Module | None = None) -> list[dict]:
    """Train for some epochs of two batches of four; return gradients and tables of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    hub = MessageHub.get_current_instance()
    hub.update_info('max_epochs', EPOCHS)
    seen = []
    for epoch in range(EPOCHS):
        hub.update_info('epoch', epoch)
        for batch in range(2):
            inputs, samples = preprocessed(model, 'cls', num=4, size=32, seed=2 * epoch + batch)
            for i, sample in enumerate(samples):
                sample.set_metainfo(dict(sample_idx=4 * batch + i))
                sample.set_gt_label(i % 3)
            losses = (wrapped or model)(inputs[part], samples[part], mode='loss')
            optimizer.zero_grad()
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            found = {k: p.grad.clone() for k, p in model.named_parameters()}
            found['table'] = model.distiller.methods['past'].table.current.clone()
            found['previous'] = model.distiller.methods['past'].table.previous.clone()
            seen.append(found)
            optimizer.step()
    return seen


def uneven(rank: int) -> list[torch.Tensor]:
    """Write batches of which one rank has fewer images, or none; return the tables."""
    found = []
    for top_k in (None, 2):
        table = PredictionTable(8, 3, top_k)
        table.begin(0)
        for step, parts in enumerate((([0, 1, 2], [2, 5]), ([], [7, 0]), ([], []), ([6], [6]))):
            numbers = torch.tensor(parts[rank], dtype=torch.long)
            probs = random(len(numbers), 3, seed=10 * step + rank).softmax(1)
            table.write(numbers, probs, numbers % 3)
        found += [table.current, table.labels, table.clashes]
    return found


def informed(rank: int, ranks: int) -> list[torch.Tensor]:
    """Estimate centroids and step once, with one rank's images; return both."""
    model = make_student('cls', methods=dict(mcmi=dict(type='mmkd.MCMI', student='head.fc')))
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # the estimate is in training mode
            model.set_submodule(name, nn.Identity())
    method = model.distiller.methods['mcmi']
    batches = [make_batch('cls', 4, 32, num_classes=3, seed=seed) for seed in range(3)]
    part = slice(rank * 4 // ranks, (rank + 1) * 4 // ranks)
    own = [{name: value[part] for name, value in batch.items()} for batch in batches]
    method.before_epoch(model, own)
    wrapped = model
    if ranks > 1:
        wrapped = MMDistributedDataParallel(
            model, broadcast_buffers=False, find_unused_parameters=False
        )
    with torch.no_grad():  # away from the outputs that the centroids are means of
        model.head.fc.weight.mul_(3)
    data = model.data_preprocessor(own[0], True)
    losses = wrapped(**data, mode='loss')
    (losses['distill.mcmi.loss_cmi'] + 0 * losses['loss']).backward()
    return [method.centroids, method.counts, *(p.grad for p in model.parameters())]


def side_steps(part: slice, seed: int = 0) -> list[torch.Tensor]:
    """Train a convolution that only rank 0 starts with the same values; return its weights."""
    torch.manual_seed(seed)
    learner = SideLearner(nn.Conv2d(3, 2, 1), dict(type='Adam', lr=0.1))
    weights = []
    for step in range(3):
        learner.step(learner(random(4, 3, 4, 4, seed=step).float()[part]).square().mean())
        weights.append(learner.module.weight.detach().clone())
    return weights


def work(rank: int, folder: Path):
    model = student()
    wrapped = MMDistributedDataParallel(
        model, broadcast_buffers=False, find_unused_parameters=False
    )
    seen = steps(model, slice(2 * rank, 2 * rank + 2), wrapped)
    side = side_steps(slice(2 * rank, 2 * rank + 2), seed=rank)
    return seen, uneven(rank), informed(rank, 2), side


@pytest.fixture(scope='module')
def both_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ddp')
    return results_of(__file__, folder)


@pytest.mark.ddp
def test_two_processes_equal_one(both_ranks):
    (first, *_), (second, *_) = both_ranks
    expected = steps(student(), slice(None))
    for step, (a, b, one) in enumerate(zip(first, second, expected, strict=True)):
        assert a.keys() == b.keys() == one.keys()
        for name, value in a.items():
            assert torch.equal(value, b[name]), name
            torch.testing.assert_close(
                value,
                one[name],
                rtol=1e-3,
                atol=1e-5,
                msg=lambda m, name=name, step=step: f'{name} in step {step}: {m}',
            )
    assert expected[-1]['previous'].sum(1).min() > 0.99


@pytest.mark.ddp
def test_ranks_with_fewer_images_or_none(both_ranks):
    (_, first, *_), (_, second, *_) = both_ranks
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    rows = first[0]
    seed = {0: (11, 1), 1: (0, 1), 2: (1, 0), 5: (1, 1), 7: (11, 0), 6: (31, 0)}
    for number in range(8):
        if number not in seed:
            assert not rows[number].any()
            continue
        source, place = seed[number]
        count = {0: 3, 1: 2, 11: 2, 31: 1}[source]
        probs = random(count, 3, seed=source).softmax(1)[place]
        torch.testing.assert_close(rows[number].double(), probs, rtol=1e-3, atol=1e-3)


@pytest.mark.ddp
def test_centroids_are_those_of_all_ranks(both_ranks):
    (_, _, first, _), (_, _, second, _) = both_ranks
    expected = informed(0, 1)
    assert expected[1].sum() == 12 and expected[2].any()
    for a, b, one in zip(first, second, expected, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one, rtol=1e-4, atol=1e-6)


@pytest.mark.ddp
def test_a_side_learner_takes_the_mean_step(both_ranks):
    (*_, first), (*_, second) = both_ranks
    for a, b, one in zip(first, second, side_steps(slice(None)), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, one)


if __name__ == '__main__':
    as_rank(work)
