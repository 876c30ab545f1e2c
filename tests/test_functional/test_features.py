"""Distances of maps against loops."""

from __future__ import annotations

import math

import pytest
import torch

from mmkd.functional import mimic_loss, normalized, rescaled, standardize


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 1, 1, 1), (3, 2, 1, 7)])
@pytest.mark.parametrize('masked', [False, True])
def test_mimic_loss_equals_loops(shape, masked):
    student, teacher = random(*shape), random(*shape, seed=1)
    n, c, h, w = shape
    mask = (random(n, 1, h, w, seed=2) > 0).double() if masked else None
    if masked:
        mask[0, 0, 0, 0] = 1
    total = cells = 0.0
    for i in range(n):
        for y in range(h):
            for x in range(w):
                weight = float(mask[i, 0, y, x]) if masked else 1.0
                cells += weight
                for k in range(c):
                    difference = float(student[i, k, y, x] - teacher[i, k, y, x])
                    total += weight * difference**2
    loss = mimic_loss(student, teacher, mask)
    assert float(loss) == pytest.approx(total / (cells * c), rel=1e-6)


def test_mimic_loss_without_cells_is_zero():
    student = random(1, 2, 3, 3).requires_grad_()
    loss = mimic_loss(student, random(1, 2, 3, 3, seed=1), torch.zeros(1, 1, 3, 3))
    loss.backward()
    assert float(loss.detach()) == 0 and not student.grad.any()


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 2, 1, 3)])
def test_standardize_equals_loops(shape):
    x = random(*shape) * 3 + 5
    c = shape[1]
    result = standardize(x)
    for k in range(c):
        values = [float(v) for v in x[:, k].flatten()]
        mean = sum(values) / len(values)
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        expected = [(v - mean) / (std + 1e-6) for v in values]
        assert result[:, k].flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 2, 1, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize('eps', [1e-6, 0.5])
def test_gradient_of_standardize(shape, eps):
    x = (random(*shape) * 3 + 5).requires_grad_()
    weights = random(*shape, seed=1)
    std = x.std((0, 2, 3), keepdim=True) if x[:, 0].numel() > 1 else 0
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / (std + eps)
    gradients = [
        torch.autograd.grad((y * weights).sum(), x)[0] for y in (plain, standardize(x, eps))
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)
    if shape[-1] > 1:
        assert torch.autograd.gradcheck(lambda x: standardize(x, eps), x)


def test_standardize_is_finite_for_constant_maps():
    for x in (torch.full((2, 3, 4, 4), 7.0), torch.randn(1, 3, 1, 1)):
        x.requires_grad_()
        result = standardize(x)
        result.square().sum().backward()
        assert result.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_standardize_computes_in_fp32(dtype):
    result = standardize((torch.randn(2, 3, 4, 4) * 1e-4 + 60).to(dtype))
    assert result.dtype == torch.float32 and result.isfinite().all()


def test_half_the_distance_of_standardized_maps_is_one_minus_their_correlation():
    a, b = random(2, 3, 6, 6), random(2, 3, 6, 6, seed=1)
    correlations = [
        float(torch.corrcoef(torch.stack([a[:, k].flatten(), b[:, k].flatten()]))[0, 1])
        for k in range(3)
    ]
    loss = 0.5 * mimic_loss(standardize(a), standardize(b))
    assert float(loss) == pytest.approx((1 - sum(correlations) / 3) * 71 / 72, rel=1e-4)


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 1, 1, 1)])
def test_a_map_divided_by_its_root_mean_square_equals_loops(shape):
    x = random(*shape) * 3 + 5
    values = [float(v) for v in x.flatten()]
    root = math.sqrt(sum(v * v for v in values) / len(values))
    expected = [v / root for v in values]
    assert normalized(x, 'map').flatten().tolist() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda x: normalized(x, 'map'), x.requires_grad_())


def test_maps_are_standardized_or_left_alone():
    x = random(2, 3, 4, 5)
    assert torch.equal(normalized(x, 'channel'), standardize(x)) and normalized(x, None) is x


@pytest.mark.parametrize('how', [None, 'channel', 'map'])
def test_rescaled_is_the_inverse_of_normalized(how):
    x = random(2, 3, 4, 5) * 3 + 5
    torch.testing.assert_close(rescaled(normalized(x, how), x, how), x, rtol=1e-5, atol=1e-5)


def test_a_map_of_zeros_has_a_finite_gradient():
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    result = normalized(x, 'map')
    result.sum().backward()
    assert not result.any() and x.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_root_mean_square_is_computed_in_fp32(dtype):
    result = normalized(torch.full((2, 3, 8, 8), 3e4, dtype=dtype), 'map')
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.ones_like(result), rtol=1e-5, atol=0)


def test_half_the_distance_of_maps_of_unit_root_mean_square_is_one_minus_their_cosine():
    a, b = random(2, 3, 6, 6) + 1, random(2, 3, 6, 6, seed=1)
    loss = 0.5 * mimic_loss(normalized(a, 'map'), normalized(b, 'map'))
    cosine = torch.cosine_similarity(a.flatten(), b.flatten(), 0)
    assert float(loss) == pytest.approx(1 - float(cosine), rel=1e-9)
