"""What PatchMix draws, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import BaseDataElement
from support.samples import labeled

from mmkd.mixers import PatchMix
from mmkd.mixers.base import partners
from mmkd.mixers.patchmix import permutation, random_cells
from mmkd.utils import ConfigError, step_generator


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(2, 12), count=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_no_image_meets_itself(batch, count, seed):
    count = min(batch, count)
    table = partners(batch, count, torch.Generator().manual_seed(seed))
    assert table[:, 0].tolist() == list(range(batch))
    for k in range(count):
        assert sorted(table[:, k].tolist()) == list(range(batch))  # each serves once
    for row in table.tolist():
        assert len(set(row)) == count


@pytest.mark.parametrize('images', [2, 3])
@pytest.mark.parametrize('grid', [(2, 2), (3, 3), (5, 7)])
def test_permutation_form(images, grid):
    """Group j comes from image (i + j) mod N; groups are equal; the rest is the image's own."""
    batch, patches = 5, grid[0] * grid[1]
    layouts = set()
    for iteration in range(20):
        assignment, sources = permutation(batch, grid, images, step_generator(iteration))
        for i in range(batch):
            assert sources[i].tolist() == [(i + j) % batch for j in range(images)]
            assert torch.equal(assignment[i], assignment[0])  # one permutation per batch
        counts = assignment[0].flatten().bincount(minlength=images).tolist()
        assert counts[1:] == [patches // images] * (images - 1)
        assert counts[0] == patches - sum(counts[1:])
        layouts.add(tuple(assignment[0].flatten().tolist()))
    assert len(layouts) > 3


def test_random_form_draws_every_image_apart_and_every_share():
    replaced = []
    differ = False
    for iteration in range(200):
        assignment, _ = random_cells(3, (2, 2), 2, step_generator(iteration))
        replaced += assignment.flatten(1).sum(1).tolist()
        differ |= not torch.equal(assignment[0], assignment[1])
    assert differ
    # floor(4 λ) with λ uniform: 0, 1, 2 and 3 are equally likely, and never all four.
    counts = torch.tensor(replaced).bincount(minlength=5).tolist()
    assert counts[4] == 0
    assert all(110 < count < 190 for count in counts[:4])


def test_random_form_draws_once_for_the_batch():
    inputs = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8)
    mixer = PatchMix(grid=(4, 4), draw='batch', num_classes=5)
    shares = set()
    for iteration in range(20):
        mixed = mixer.mix(inputs, labeled(4), iteration).inputs
        own = mixed == inputs
        assert all(torch.equal(image, own[0]) for image in own)
        shares.add(int(own[0].sum()))
    assert len(shares) > 5


def test_random_form_divides_the_cells_among_all_sources():
    counts = torch.zeros(3)
    for iteration in range(100):
        assignment, _ = random_cells(4, (4, 4), 3, step_generator(iteration))
        counts += assignment.flatten().bincount(minlength=3)
        for cells in assignment.flatten(1):
            share = cells.bincount(minlength=3)
            assert abs(int(share[1] - share[2])) <= 1
    assert (counts > 0).all()


def test_prob():
    """Unmixed batches are the clean ones, with soft labels that are the hard ones."""
    inputs, samples = torch.randn(2, 3, 8, 8), labeled(2)
    never = PatchMix(prob=0.0, num_classes=5)
    view = never.mix(inputs, samples)
    assert view.inputs is inputs and view.parts == ()
    assert [int(s.gt_score.argmax()) for s in view.data_samples] == [
        int(s.gt_label) for s in samples
    ]
    sometimes = PatchMix(prob=0.3, num_classes=5)
    mixed = sum(bool(sometimes.mix(inputs, samples, i).parts) for i in range(300))
    assert 60 < mixed < 120


def test_draws_depend_on_the_iteration_and_the_seed_alone():
    inputs, samples = torch.randn(4, 3, 16, 16), labeled(4)
    mixer = PatchMix(grid=(4, 4), num_classes=5)
    torch.manual_seed(3)
    first = [mixer.mix(inputs, samples, i).inputs for i in range(3)]
    state = torch.get_rng_state()
    torch.rand(100)  # what a resumed run would not have drawn
    again = PatchMix(grid=(4, 4), num_classes=5)
    assert torch.equal(again.mix(inputs, samples, 2).inputs, first[2])
    assert not torch.equal(first[0], first[1])
    torch.manual_seed(4)
    assert not torch.equal(again.mix(inputs, samples, 2).inputs, first[2])
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_mixing_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    PatchMix(num_classes=5).mix(torch.randn(2, 3, 8, 8, generator=torch.Generator()), labeled(2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(grid=(2, 32)), '^grid.*does not fit'),
        (dict(grid=(2, 2), num_images=5), '^grid.*fewer patches than num_images=5'),
        (dict(patch_size=16, num_images=2), '^patch_size.*fewer patches'),
    ],
)
def test_images_that_cannot_be_mixed(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PatchMix(num_classes=5, **arguments).mix(torch.zeros(6, 3, 16, 16), labeled(6))


@pytest.mark.parametrize('samples', [None, [], [BaseDataElement(), BaseDataElement()]])
def test_unlabeled_images(samples):
    with pytest.raises(ConfigError, match='labeled images'):
        PatchMix().mix(torch.zeros(2, 3, 16, 16), samples)
