"""PatchMix: the exact tests, and everything against loops over pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import naive
from support.samples import labeled
from support.tiny_models import (
    LOGITS,
    MIMIC,
    TASKS,
    losses_of,
    make_student,
    preprocessed,
    teacher_config,
)
from torch import nn

from mmkd.mixers import PatchMix

# variant, grid or patch size, images, (N, H, W)
CASES = [
    ('random', dict(grid=(2, 2)), 2, (2, 16, 16)),
    ('random', dict(grid=(3, 5)), 3, (4, 17, 23)),
    ('random', dict(patch_size=5), 2, (3, 16, 21)),
    ('random', dict(grid=(3, 4), draw='batch'), 3, (4, 17, 23)),
    ('random', dict(grid=(1, 4)), 2, (5, 7, 9)),
    ('random', dict(grid=(7, 9)), 3, (2, 7, 9)),  # one pixel per patch, m > N
    ('permutation', dict(grid=(2, 2)), 2, (2, 16, 16)),
    ('permutation', dict(grid=(3, 5)), 3, (4, 17, 23)),
    ('permutation', dict(grid=(3, 3)), 2, (3, 11, 13)),  # one patch is left over
    ('permutation', dict(patch_size=4), 3, (3, 15, 13)),
]


cases = pytest.mark.parametrize(('variant', 'layout', 'images', 'shape'), CASES)


def mixer_of(variant: str, layout: dict, images: int, **kwargs) -> PatchMix:
    return PatchMix(variant=variant, num_images=images, num_classes=5, **layout, **kwargs)


@cases
@pytest.mark.parametrize('iteration', [0, 1, 2])
def test_equals_loops(variant, layout, images, shape, iteration):
    """Images, maps of several sizes, vectors and labels, all from one naive map of sources."""
    batch, *size = shape
    mixer = mixer_of(variant, layout, images)
    inputs = torch.randn(batch, 3, *size, dtype=torch.double)
    samples = labeled(batch)
    view = mixer.mix(inputs, samples, iteration)
    maps = naive.source_maps(mixer, batch, tuple(size), iteration)
    if images > 1:
        assert view.parts
    assert torch.equal(view.inputs, naive.mixed_images(inputs, maps))
    assert torch.equal(view.teacher_inputs, inputs)
    for cells in (tuple(size), (5, 4), (1, 1), (size[0], 2)):
        feature = torch.randn(batch, 2, *cells, dtype=torch.double)
        torch.testing.assert_close(
            view.simulate(feature), naive.simulated(feature, maps), rtol=1e-12, atol=1e-12
        )
    share = naive.shares(maps)
    vectors = torch.randn(batch, 6, dtype=torch.double)
    torch.testing.assert_close(view.simulate(vectors), share @ vectors)
    labels = torch.zeros(batch, 5)
    for i in range(batch):
        for j in range(batch):
            labels[i, int(samples[j].gt_label)] += float(share[i, j])
    soft = torch.stack([sample.gt_score for sample in view.data_samples])
    torch.testing.assert_close(soft.float(), labels)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(['random', 'permutation']),
    images=st.integers(1, 3),
    batch=st.integers(2, 5),
    size=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    grid=st.tuples(st.integers(1, 4), st.integers(2, 4)).filter(lambda g: g[0] * g[1] > 2),
    patch=st.none() | st.integers(1, 2),
    cells=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    iteration=st.integers(0, 10**6),
)
def test_resized_masks_sum_to_one(variant, images, batch, size, grid, patch, cells, iteration):
    mixer = mixer_of(variant, dict(grid=grid, patch_size=patch), images)
    view = mixer.mix(torch.zeros(batch, 3, *size), labeled(batch), iteration)
    if images == 1:
        assert view.parts == ()
        return
    total = sum(view.resized(cells))
    torch.testing.assert_close(total, torch.ones(batch, 1, *cells), rtol=0, atol=1e-6)
    assert all(((w >= 0) & (w <= 1)).all() for w in view.resized(cells))
    pixels = torch.stack([part.weight for part in view.parts])
    assert ((pixels == 0) | (pixels == 1)).all()
    torch.testing.assert_close(sum(view.shares()), torch.ones(batch))


@cases
def test_identical_images_give_the_teachers_own_feature(variant, layout, images, shape):
    batch, *size = shape
    mixer = mixer_of(variant, layout, images)
    image = torch.randn(1, 3, *size).expand(batch, -1, -1, -1)
    view = mixer.mix(image, labeled(batch))
    assert torch.equal(view.inputs, image)
    feature = torch.randn(1, 4, 6, 5).expand(batch, -1, -1, -1)
    torch.testing.assert_close(view.simulate(feature), feature, rtol=0, atol=1e-6)


def pointwise(channels: int, stride: int) -> nn.Module:
    """Return a network whose receptive field is one cell, with small whole numbers as weights."""
    net = nn.Sequential(
        nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
        nn.Conv2d(3, channels, 1),
        nn.ReLU(),
        nn.Conv2d(channels, 4, 1),
    )
    for parameter in net.parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape).to(parameter)
    return net.double()


@pytest.mark.parametrize('variant', ['random', 'permutation'])
@pytest.mark.parametrize('layout', [dict(grid=(2, 4)), dict(patch_size=4)])
@pytest.mark.parametrize('stride', [1, 2, 4])
@pytest.mark.parametrize('images', [2, 3])
def test_simulation_is_exact_for_pointwise_teachers(variant, layout, stride, images):
    """Whole numbers are exact in floating point, so this is equality and not closeness."""
    mixer = mixer_of(variant, layout, images)
    inputs = torch.randint(-8, 9, (4, 3, 16, 32)).double()
    teacher = pointwise(5, stride)
    for iteration in range(4):
        view = mixer.mix(inputs, labeled(4), iteration)
        simulated = view.simulate(teacher(view.teacher_inputs))
        assert torch.equal(simulated, teacher(view.inputs))
    assert not torch.equal(view.inputs, inputs) or iteration == 0


def test_simulation_is_not_exact_for_larger_receptive_fields():
    """The exact test would be worth nothing if it could not fail."""
    mixer = mixer_of('permutation', dict(grid=(2, 2)), 2)
    inputs = torch.randn(2, 3, 16, 16)
    teacher = nn.Conv2d(3, 4, 3, padding=1)
    view = mixer.mix(inputs, labeled(2))
    assert not torch.allclose(view.simulate(teacher(inputs)), teacher(view.inputs))


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('variant', ['random', 'permutation'])
def test_one_image_is_ordinary_distillation_bit_for_bit(task, variant, tmp_path):
    """The whole step: losses, gradients of the student and of the adapters."""
    methods = dict(feature=dict(MIMIC[task], interior_only=1), logits=LOGITS[task])
    seen = []
    for mixer in (None, dict(type='mmkd.PatchMix', variant=variant, num_images=1)):
        model = make_student(
            task, teacher=teacher_config(task, tmp_path), mixer=mixer, methods=methods
        )
        inputs, samples = preprocessed(model, task, num=3)
        torch.manual_seed(7)  # of the dropout
        losses = losses_of(model, inputs, samples)
        sum(v for k, v in losses.items() if 'loss' in k).backward()
        gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        seen.append((losses, gradients))
    (losses, gradients), (mixed_losses, mixed_gradients) = seen
    assert losses.keys() == mixed_losses.keys() and gradients.keys() == mixed_gradients.keys()
    assert any('distiller' in k for k in gradients)
    assert [k for k in losses if not torch.equal(losses[k], mixed_losses[k])] == []
    assert [k for k in gradients if not torch.equal(gradients[k], mixed_gradients[k])] == []


def test_teacher_on_mixed():
    inputs = torch.randn(2, 3, 8, 8)
    mixer = PatchMix(variant='permutation', teacher_on_mixed=True, num_classes=5)
    view = mixer.mix(inputs, labeled(2))
    assert view.teacher_inputs is view.inputs and not torch.equal(view.inputs, inputs)
    feature = torch.randn(2, 4, 2, 2)
    assert view.simulate(feature) is feature


def test_tensors_that_cannot_be_simulated():
    view = PatchMix(num_classes=5, variant='permutation').mix(torch.zeros(2, 3, 8, 8), labeled(2))
    with pytest.raises(ValueError, match='tokens=True'):
        view.simulate(torch.zeros(2, 16, 8))


@pytest.mark.parametrize('radius', [0, 1, 2])
@cases
def test_interior_equals_loops(variant, layout, images, shape, radius):
    batch, *size = shape
    mixer = mixer_of(variant, layout, images)
    for iteration in range(3):
        view = mixer.mix(torch.zeros(batch, 3, *size), labeled(batch), iteration)
        maps = naive.source_maps(mixer, batch, tuple(size), iteration)
        for cells in ((1, 1), (4, 6), tuple(size)):
            mask = view.interior(cells, radius)
            if radius == 0 or not view.parts:
                assert mask is None
            else:
                assert torch.equal(mask, naive.interior(maps, cells, radius))
