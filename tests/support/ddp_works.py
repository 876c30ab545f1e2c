"""What two ranks do beside the rows of ``ddp_rows.py``: parts of methods, and steps that differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from support.helpers import make_batch
from support.tiny_models import LOGITS, make_student, preprocessed, teacher_config
from support.views import random
from torch import nn

from mmkd.methods import Method
from mmkd.methods.progressive_self_kd import PredictionTable
from mmkd.registry import MODELS
from mmkd.utils import progress
from mmkd.utils.side_learner import SideLearner

STEPS = 4


def parallel(model: nn.Module) -> nn.Module:
    return MMDistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=False)


def uneven(rank: int, folder: Path) -> list[torch.Tensor]:
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


def informed(rank: int, folder: Path, ranks: int = 2) -> list[torch.Tensor]:
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
    wrapped = parallel(model) if ranks > 1 else model
    with torch.no_grad():  # away from the outputs that the centroids are means of
        model.head.fc.weight.mul_(3)
    losses = wrapped(**model.data_preprocessor(own[0], True), mode='loss')
    (losses['distill.mcmi.loss_cmi'] + 0 * losses['loss']).backward()
    return [method.centroids, method.counts, *(p.grad for p in model.parameters())]


def side_steps(rank: int, folder: Path, ranks: int = 2) -> list[torch.Tensor]:
    """Train a convolution that only rank 0 starts with the same values; return its weights."""
    torch.manual_seed(rank)
    learner = SideLearner(nn.Conv2d(3, 2, 1), dict(type='Adam', lr=0.1))
    part = slice(rank * 4 // ranks, (rank + 1) * 4 // ranks)
    weights = []
    for step in range(3):
        learner.step(learner(random(4, 3, 4, 4, seed=step).float()[part]).square().mean())
        weights.append(learner.module.weight.detach().clone())
    return weights


def augmented_student(folder: Path, seed: int = 0) -> nn.Module:
    """Return a student whose augmentor starts with values of its own seed."""
    mixer = dict(
        type='mmkd.HardAugment',
        augmentor=dict(type='mmkd.ColourAugmentor', hidden=0),
        student='head.fc',
        teacher='head.fc',
        interval=2,
        thresholds=(0.0, 1e-9),  # it learns once, and pauses for ever
        optimizer=dict(type='SGD', lr=0.5),
    )
    teacher = teacher_config('cls', folder)
    model = make_student('cls', teacher=teacher, mixer=mixer, methods=dict(m=LOGITS['cls']))
    policy = model.distiller.mixer.learner.module.policy
    with torch.no_grad():
        policy.mean.copy_(torch.tensor([0.3, -0.2]) + seed)
        policy.std.fill_(0.1 + seed)
        for net in (model, model.distiller.teachers[''].model):
            net.head.fc.weight.mul_(50)
    return model


def augmentor_batch(model: nn.Module, rank: int) -> Any:
    """Return one rank's half of a batch."""
    inputs, samples = preprocessed(model, 'cls', num=4, size=32)
    return inputs[2 * rank : 2 * rank + 2], samples[2 * rank : 2 * rank + 2]


def learned(model: nn.Module) -> torch.Tensor:
    policy = model.distiller.mixer.learner.module.policy
    return torch.cat([policy.mean, policy.std]).detach().clone()


def augmented(rank: int, folder: Path) -> Any:
    """Return what an augmentor learned, whether it goes on, and the student's gradients."""
    model = augmented_student(folder, seed=rank)
    wrapped = parallel(model)
    batch = augmentor_batch(model, rank)
    torch.manual_seed(0)
    seen = []
    for iteration in range(STEPS):
        MessageHub.get_current_instance().update_info('iter', iteration)
        losses = wrapped(*batch, mode='loss')
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        seen.append((learned(model), model.distiller.mixer.learning))
    return seen, [p.grad for p in model.parameters() if p.requires_grad]


@MODELS.register_module(force=True)
class OverflowsOnOneRank(Method):
    """A loss that is infinite in the second iteration on the second rank."""

    def __init__(self, student, **kwargs):
        super().__init__(student, **kwargs)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, view):
        bad = progress()[0] == 1 and get_rank() == 1
        return dict(big=(self.scale * student[0]).square().mean() * (float('inf') if bad else 1.0))


def nonfinite(policy: str) -> Callable[[int, Path], Any]:
    """Return work that gives, of each step: is it skipped, the losses' names, the gradients."""

    def work(rank: int, folder: Path) -> list[Any]:
        overflows = dict(type='mmkd.OverflowsOnOneRank', student='head.fc')
        model = make_student(
            'cls',
            teacher=teacher_config('cls', folder),
            on_nonfinite=policy,
            methods=dict(big=overflows, logits=LOGITS['cls']),
        )
        wrapped = parallel(model)
        seen = []
        for iteration in range(3):
            MessageHub.get_current_instance().update_info('iter', iteration)
            batch = preprocessed(model, 'cls', seed=2 * iteration + rank)
            losses = wrapped(*batch, mode='loss')
            model.zero_grad()
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
            seen.append((model.distiller.guard.skipped, sorted(losses), gradients))
        return seen

    return work


def two_passes(task_on: str) -> Callable[[int, Path], Any]:
    """Return work that gives, of each step: is its batch mixed, the passes, the gradients."""

    def work(rank: int, folder: Path) -> list[Any]:
        model = make_student(
            'cls',
            teacher=teacher_config('cls', folder),
            mixer=dict(type='mmkd.PatchMix', variant='permutation', prob=0.5, task_on=task_on),
            methods=dict(logits=LOGITS['cls']),
        )
        wrapped = parallel(model)
        seen: list[Any] = []
        inputs: list[torch.Tensor] = []
        model.backbone.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        for iteration in range(12):
            MessageHub.get_current_instance().update_info('iter', iteration)
            batch, samples = preprocessed(model, 'cls', seed=2 * iteration + rank)
            inputs.clear()
            losses = wrapped(batch, samples, mode='loss')
            model.zero_grad()
            sum(v for k, v in losses.items() if 'loss' in k).backward()
            gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
            seen.append((not torch.equal(inputs[-1], batch), len(inputs), gradients))
        return seen

    return work


WORKS: dict[str, Callable[[int, Path], Any]] = {
    'uneven': uneven,
    'informed': informed,
    'side_steps': side_steps,
    'augmented': augmented,
    'skip_step': nonfinite('skip_step'),
    'drop_kd': nonfinite('drop_kd'),
    'task_on_clean': two_passes('clean'),
    'task_on_both': two_passes('both'),
}
