"""Affine transforms equal loops."""

from __future__ import annotations

import math

import pytest
import torch
from support.naive import affine_transform
from support.views import random
from torch.autograd import gradcheck

from mmkd.mixers.hard.affine import affine_matrix, affine_warp

SIZE = (7, 10)


@pytest.mark.parametrize('padding', ['border', 'zeros'])
def test_warp_equals_loops(padding):
    images = random(4, 2, *SIZE)
    shift = torch.tensor([[0.2, 0.0], [0.0, -0.3], [0.1, 0.15], [0, 0]], dtype=torch.double)
    angle = torch.tensor([0.0, 0.4, -0.5, 0.0], dtype=torch.double)
    scale = torch.tensor([1.0, 1.0, 1.3, 0.7], dtype=torch.double)
    warped = affine_warp(images, affine_matrix(shift, angle, scale, SIZE), padding)
    for i in range(4):
        values = [float(v) for v in (*shift[i], angle[i], scale[i])]
        expected = affine_transform(images[i], *values, padding)
        torch.testing.assert_close(warped[i], expected, rtol=0, atol=1e-9)


def test_directions():
    """Right and down; clockwise; larger than 1 enlarges."""
    image = torch.zeros(1, 1, 8, 8, dtype=torch.double)
    image[0, 0, 1, 3] = 1.0
    none, one = torch.zeros(1, dtype=torch.double), torch.ones(1, dtype=torch.double)

    def place(shift, angle, scale):
        matrix = affine_matrix(torch.tensor([shift], dtype=torch.double), angle, scale, (8, 8))
        return divmod(int(affine_warp(image, matrix, 'zeros').argmax()), 8)

    assert place([0.25, 0.125], none, one) == (2, 5)
    assert place([0.0, 0.0], none + math.pi / 2, one) == (3, 6)
    assert place([0.0, 0.0], none, one * 0.5)[0] > 1


def test_identity_is_exact_and_has_a_gradient():
    images = torch.randn(3, 2, 11, 13) * 100
    values = torch.zeros(3, 4, requires_grad=True)
    matrix = affine_matrix(values[:, :2], values[:, 2], 1 + values[:, 3], (11, 13))
    warped = affine_warp(images, matrix)
    assert torch.equal(warped, images)
    plain = torch.nn.functional.grid_sample(
        images, torch.nn.functional.affine_grid(matrix, list(images.shape), align_corners=False),
        padding_mode='border', align_corners=False,
    )  # fmt: skip
    assert not torch.equal(plain, images)  # sampling alone would have rounded
    other = random(3, 2, 11, 13, seed=1).float()
    (gradient,) = torch.autograd.grad((warped * other).sum(), values, retain_graph=True)
    (expected,) = torch.autograd.grad((plain * other).sum(), values)
    assert gradient.any() and torch.equal(gradient, expected)


def test_gradcheck():
    images = random(2, 1, 5, 6)

    def transform(shift, angle, scale):
        return affine_warp(images, affine_matrix(shift, angle, scale, (5, 6)), 'zeros')

    values = (random(2, 2) * 0.1, random(2, seed=1) * 0.3, 1 + 0.1 * random(2, seed=2))
    assert gradcheck(transform, tuple(v.requires_grad_() for v in values))
