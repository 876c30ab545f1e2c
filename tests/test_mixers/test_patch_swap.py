"""PatchSwap on images of one class."""

from __future__ import annotations

import math

import pytest
import torch
from mmpretrain.structures import DataSample
from support.samples import sample_of

from mmkd.mixers import PatchSwap
from mmkd.utils import ConfigError, step_generator

CASES = [
    (dict(grid=(2, 2)), (2, 8, 8)),
    (dict(grid=(3, 5)), (4, 17, 23)),  # cells of unequal size
    (dict(patch_size=5), (6, 16, 21)),  # narrower patches at the far edges
    (dict(patch_size=4, share='uniform'), (4, 16, 16)),
    (dict(grid=(7, 9), share=0.9), (2, 7, 9)),  # one pixel per patch
]

cases = pytest.mark.parametrize(('arguments', 'shape'), CASES)


def paired(batch, num_classes=5):
    """Return classification samples whose halves are of the same classes."""
    half = [i * 2 % num_classes for i in range(batch // 2)]
    return [DataSample().set_gt_label(label) for label in half * 2]


def random_batch(shape):
    batch, height, width = shape
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height, width, dtype=torch.double, generator=generator)


def naive_swap(mixer, inputs, iteration):
    """Exchange patches pixel by pixel, from the drawn cells."""
    batch, _, height, width = inputs.shape
    n = batch // 2
    rows, columns = mixer.patches.grid
    if mixer.patches.patch_size is not None:
        rows, columns = (math.ceil(s / mixer.patches.patch_size) for s in (height, width))
    cells = mixer.draw_cells(n, (rows, columns), step_generator(iteration))
    mixed = inputs.clone()
    for i in range(n):
        for y in range(height):
            for x in range(width):
                if mixer.patches.patch_size is not None:
                    cell = cells[i, y // mixer.patches.patch_size, x // mixer.patches.patch_size]
                else:
                    cell = cells[i, y * rows // height, x * columns // width]
                if cell:
                    mixed[i, :, y, x] = inputs[i + n, :, y, x]
                    mixed[i + n, :, y, x] = inputs[i, :, y, x]
    return mixed


@cases
@pytest.mark.parametrize('iteration', [0, 1])
def test_equals_loops(arguments, shape, iteration):
    mixer = PatchSwap(prob=0.7, **arguments)
    inputs, samples = random_batch(shape), paired(shape[0])
    view = mixer.mix(inputs, samples, iteration)
    assert torch.equal(view.inputs, naive_swap(mixer, inputs, iteration))
    assert torch.equal(view.teacher_inputs, inputs)
    n = shape[0] // 2
    assert view.pairs.images.tolist() == [[i, i + n] for i in range(n)]


@cases
def test_exchanging_twice_restores_the_batch(arguments, shape):
    mixer = PatchSwap(prob=1.0, **arguments)
    inputs, samples = random_batch(shape), paired(shape[0])
    once = mixer.mix(inputs, samples, 3)
    assert not torch.equal(once.inputs, inputs)
    assert torch.equal(mixer.mix(once.inputs, once.data_samples, 3).inputs, inputs)


@cases
def test_labels_stay_and_pixels_stay_in_their_pair(arguments, shape):
    mixer = PatchSwap(prob=1.0, **arguments)
    inputs, samples = random_batch(shape), paired(shape[0])
    view = mixer.mix(inputs, samples, 2)
    assert all(a.gt_label is b.gt_label for a, b in zip(view.data_samples, samples, strict=True))
    assert not any('gt_score' in sample for sample in view.data_samples)
    assert all('gt_score' not in sample for sample in samples)
    n = shape[0] // 2
    before = torch.stack([inputs[:n], inputs[n:]]).sort(0).values
    after = torch.stack([view.inputs[:n], view.inputs[n:]]).sort(0).values
    assert torch.equal(before, after)  # at every position the same two values
    moved = (view.inputs != inputs).any(1, keepdim=True)
    assert torch.equal(view.pairs.swapped, moved)
    assert torch.equal(moved[:n], moved[n:])


def test_prob_is_per_pair_and_share_per_patch():
    inputs, samples = random_batch((40, 8, 8)), paired(40)
    mixer = PatchSwap(prob=0.3, share=0.25, grid=(4, 4))
    swapped = torch.stack([mixer.mix(inputs, samples, i).pairs.swapped[:20] for i in range(20)])
    swapped = swapped.flatten(0, 1).float()  # (400, 1, 8, 8)
    changed = swapped.flatten(1).any(1)
    assert abs(float(changed.float().mean()) - 0.3) < 0.07
    assert abs(float(swapped[changed].mean()) - 0.25) < 0.03
    assert not PatchSwap(prob=0.0).mix(inputs, samples).pairs.swapped.any()


def test_uniform_numbers_of_patches():
    cells = PatchSwap(prob=1.0, share='uniform').draw_cells(
        3000, (2, 2), torch.Generator().manual_seed(0)
    )
    counts = cells.flatten(1).sum(1).bincount()
    assert counts[0] == 0 and len(counts) == 4  # never none, never all
    assert ((counts[1:] - 1000).abs() < 120).all()


def test_draws_depend_on_the_iteration_and_the_seed_alone():
    inputs, samples = random_batch((4, 8, 8)), paired(4)
    torch.manual_seed(3)
    first = [PatchSwap(prob=1.0).mix(inputs, samples, i).inputs for i in range(2)]
    assert not torch.equal(*first)
    state = torch.get_rng_state()
    assert torch.equal(PatchSwap(prob=1.0).mix(inputs, samples, 1).inputs, first[1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert not torch.equal(PatchSwap(prob=1.0).mix(inputs, samples, 1).inputs, first[1])


@pytest.mark.parametrize('on_mixed', [False, True])
def test_a_teacher_can_be_simulated(on_mixed):
    """A teacher of single pixels says of the swapped images what the simulation says."""
    inputs, samples = random_batch((4, 8, 8)), paired(4)
    view = PatchSwap(prob=1.0, teacher_on_mixed=on_mixed).mix(inputs, samples)
    assert torch.equal(view.simulate(view.teacher_inputs * 2), view.inputs * 2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(grid=(2, 32)), r'^grid: .*does not fit'),
        (dict(patch_size=32), r'^patch_size: is one patch on images of \(16, 16\)'),
        (dict(grid=(1, 1)), r'^grid: is one patch'),
    ],
)
def test_images_that_cannot_be_mixed(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PatchSwap(**arguments).mix(torch.zeros(2, 3, 16, 16), paired(2))


@pytest.mark.parametrize('batch', [1, 3])
def test_odd_batches(batch):
    samples = [DataSample().set_gt_label(0)] * batch
    with pytest.raises(ConfigError, match=r'^train_dataloader\.batch_size: .*an even number'):
        PatchSwap().mix(torch.zeros(batch, 3, 8, 8), samples)


def test_batches_without_pairs():
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 1, 1)]
    with pytest.raises(
        ConfigError,
        match=r"^train_dataloader\.batch_sampler: .*dict\(type='mmkd\.SameClassPairBatchSampler'",
    ):
        PatchSwap().mix(torch.zeros(4, 3, 8, 8), samples)


def test_labels_that_are_none_several_or_soft():
    inputs = torch.zeros(2, 3, 8, 8)
    for samples in (None, [], [DataSample()] * 2, [sample_of([])] * 2):
        if samples and 'gt_instances' in samples[0]:
            samples = [sample.new() for sample in samples]
            for sample in samples:
                del sample.gt_instances
        with pytest.raises(ConfigError, match=r'^train_dataloader\.dataset: .*labeled'):
            PatchSwap().mix(inputs, samples)
    with pytest.raises(ConfigError, match=r'^train_dataloader\.dataset: .*multi-label'):
        PatchSwap().mix(inputs, [DataSample().set_gt_label([0, 2])] * 2)
    soft = [DataSample().set_gt_label(0).set_gt_score(torch.ones(2) / 2) for _ in range(2)]
    with pytest.raises(ConfigError, match='hard labels'):
        PatchSwap().mix(inputs, soft)
