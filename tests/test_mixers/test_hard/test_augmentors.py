"""The families of learned augmentations equal loops, are bounded, and start as the identity."""

from __future__ import annotations

import math

import pytest
import torch
from support.naive import affine_transform
from support.tiny_models import model_config
from torch import nn

from mmkd.mixers.hard import (
    AffineAugmentor,
    Augmentor,
    BlendAugmentor,
    ColourAugmentor,
    MixtureAugmentor,
    NoiseAugmentor,
    VAEAugmentor,
)
from mmkd.mixers.hard.augmentors import Policy
from mmkd.models import ConvVAE
from mmkd.utils import ConfigError

FAMILIES = [AffineAugmentor, ColourAugmentor, NoiseAugmentor, BlendAugmentor, MixtureAugmentor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int = 5) -> torch.Tensor:
    return torch.randn(4, 3, 8, 10, generator=generator(seed))


def moved(augmentor: Augmentor, size: float = 1.0) -> Augmentor:
    """Move every parameter away from where it starts."""
    drawn = generator(3)
    with torch.no_grad():
        for parameter in augmentor.parameters():
            parameter += size * torch.randn(parameter.shape, generator=drawn)
    return augmentor.double()


def strengths(augmentor: Augmentor, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return what an augmentor's policy draws first."""
    return augmentor.policy(x, generator(seed)).detach()


@pytest.fixture
def vae(tmp_path) -> dict:
    torch.manual_seed(0)
    config = dict(type='mmkd.ConvVAE', size=(8, 12), latent=5, width=2)
    checkpoint = tmp_path / 'vae.pth'
    model = ConvVAE(**{k: v for k, v in config.items() if k != 'type'})
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return dict(config=dict(model=config), checkpoint=str(checkpoint))


@pytest.mark.parametrize('hidden', [0, 4])
def test_policy_equals_loops(hidden):
    policy = moved(Policy(3, hidden))
    x = images().double()
    found = policy(x, generator()).detach()
    noise = torch.randn(4, 3, generator=generator()).double()
    for n in range(4):
        if hidden:
            seen = policy.look(x[n : n + 1].mean(1, keepdim=True))[0]
            inside = torch.cat([seen, noise[n]])
            for k in range(3):
                value = float(policy.last.bias[k])
                for j in range(hidden):
                    row = float((policy.hidden.weight[j] * inside).sum() + policy.hidden.bias[j])
                    value += float(policy.last.weight[k, j]) * max(row, 0.0)
                assert float(found[n, k]) == pytest.approx(math.tanh(value), abs=1e-12)
        else:
            for k in range(3):
                value = policy.mean[k].item() + policy.std[k].item() * noise[n, k].item()
                assert float(found[n, k]) == pytest.approx(math.tanh(value), abs=1e-12)


@pytest.mark.parametrize('hidden', [0, 4])
def test_affine_equals_loops(hidden):
    augmentor = moved(AffineAugmentor(shift=0.2, rotation=20, scale=0.25, hidden=hidden))
    x = images().double()
    found = augmentor(x, generator())
    drawn = strengths(augmentor, x)
    for n in range(4):
        dx, dy, angle, scale = drawn[n].tolist()
        values = 0.2 * dx, 0.2 * dy, math.radians(20) * angle, 1 + 0.25 * scale
        expected = affine_transform(x[n], *values, 'border')
        torch.testing.assert_close(found.images[n].detach(), expected, rtol=0, atol=1e-9)


def test_color_noise_and_blend_equal_loops():
    x = images().double()
    color, noise, blend = (moved(f(hidden=0)) for f in FAMILIES[1:4])
    with torch.no_grad():
        blend.policy.mean.fill_(0.3)
        colored, noisy, blended = (f(x, generator()) for f in (color, noise, blend))
    after = generator()
    torch.randn(4, 1, generator=after)
    pixels = torch.randn(x.shape, generator=after).double()
    for n in range(4):
        contrast, brightness = strengths(color, x)[n]
        mean = x[n].sum() / x[n].numel()
        expected = x[n] + 0.5 * contrast * (x[n] - mean) + 0.5 * brightness
        torch.testing.assert_close(colored.images[n], expected, rtol=0, atol=1e-9)
        expected = x[n] + 0.3 * strengths(noise, x)[n, 0] * pixels[n]
        torch.testing.assert_close(noisy.images[n], expected, rtol=0, atol=1e-9)
        share = 0.5 * max(float(strengths(blend, x)[n, 0]), 0.0)
        other = int(blended.partner[n])
        assert other != n and float(blended.share[n]) == pytest.approx(share, abs=1e-12)
        expected = (1 - share) * x[n] + share * x[other]
        torch.testing.assert_close(blended.images[n], expected, rtol=0, atol=1e-9)
    assert sorted(blended.partner.tolist()) == [0, 1, 2, 3]


def test_mixture_equals_loops():
    """Each image is what one augmentation of the bank makes of it, and so are its labels."""
    augmentor = moved(MixtureAugmentor(), 0.5)
    x = torch.cat([images(seed) for seed in range(4)]).double()
    found = augmentor(x, generator())
    draws = generator()
    uniform = torch.rand(16, 4, generator=draws).double()
    each = [op(x, draws) for op in augmentor.bank]
    used = set()
    for n in range(16):
        scores = [
            float(augmentor.logits[m]) - math.log(-math.log(float(uniform[n, m]))) for m in range(4)
        ]
        best = scores.index(max(scores))
        used.add(best)
        assert torch.equal(found.images[n], each[best].images[n])
        identity = torch.eye(2, 3).double()
        assert torch.equal(found.matrices[n], each[0].matrices[n] if best == 0 else identity)
        assert float(found.share[n]) == (float(each[3].share[n]) if best == 3 else 0.0)
        if best == 3:
            assert found.partner[n] == each[3].partner[n]
    assert used == {0, 1, 2, 3}
    probabilities = augmentor.strengths().values()
    assert float(sum(probabilities)) == pytest.approx(1.0)


def test_vae_equals_loops(vae):
    augmentor = moved(VAEAugmentor(vae, radius=1.5, hidden=0), 2.0)
    model = augmentor._vae[0].double()
    x = torch.randn(4, 3, 8, 12, generator=generator()).double()
    found = augmentor(x, generator()).images
    drawn = strengths(augmentor, x)
    lengths = []
    for n in range(4):
        length = math.sqrt(sum(float(v) ** 2 for v in drawn[n]))
        delta = 1.5 * drawn[n] / max(length, 1.0)
        lengths.append(float(delta.norm()))
        latent = model.encode(x[n : n + 1])
        expected = x[n] + (model.decode(latent + delta) - model.decode(latent))[0]
        torch.testing.assert_close(found[n], expected, rtol=0, atol=1e-9)
    assert max(lengths) == pytest.approx(1.5)  # the bound was reached
    assert all(not p.requires_grad for p in model.parameters())
    kept = {id(p) for p in augmentor.parameters()}
    assert not kept & {id(p) for p in model.parameters()}
    assert all(key.startswith('policy') for key in augmentor.state_dict())


@pytest.mark.parametrize('hidden', [0, 8])
@pytest.mark.parametrize('family', [*FAMILIES[:4], VAEAugmentor])
def test_starts_as_the_identity_and_can_leave_it(family, hidden, vae):
    augmentor = family(**(dict(vae=vae) if family is VAEAugmentor else {}), hidden=hidden)
    x = torch.randn(4, 3, 8, 12, generator=generator()) * 50
    found = augmentor(x, generator())
    assert torch.equal(found.images, x)
    last = augmentor.policy.last.bias if hidden else augmentor.policy.mean
    loss = (found.images * torch.randn(x.shape, generator=generator(1))).sum()
    assert torch.autograd.grad(loss, last)[0].any()


def test_the_mixture_starts_as_the_identity():
    augmentor = MixtureAugmentor()
    for seed in range(5):
        x = images(seed) * 50
        found = augmentor(x, generator(seed))
        assert torch.equal(found.images, x)
        assert not found.share.any()
        assert (found.matrices == torch.eye(2, 3)).all()


@pytest.mark.parametrize('size', [1.0, 1e6])
def test_bounds_hold_wherever_the_parameters_are(size, vae):
    """Of every family; saturated parameters included."""
    x = torch.randn(4, 3, 8, 12, generator=generator())
    for seed in range(5):
        for hidden in (0, 8):
            policy = moved(Policy(6, hidden), size).float()
            assert policy(x, generator(seed)).abs().max() <= 1
        affine = moved(AffineAugmentor(shift=0.3, rotation=30, scale=0.3), size).float()
        matrices = affine.matrices(x, generator(seed))
        shape = torch.tensor([[1, 12 / 8], [8 / 12, 1]])  # back to pixels that are square
        scale = 1 / (matrices[:, :, :2] * shape).det().sqrt()
        assert scale.min() >= 0.7 - 1e-5 and scale.max() <= 1.3 + 1e-5
        assert ((matrices * 1)[:, 0, 0] * scale).min() >= math.cos(math.radians(30)) - 1e-5
        shift = torch.linalg.solve(matrices[:, :, :2], -matrices[:, :, 2]) / 2
        assert shift.abs().max() <= 0.3 + 1e-5
        blended = moved(BlendAugmentor(), size).float()(x, generator(seed))
        assert blended.share.min() >= 0 and blended.share.max() <= 0.5
        colored = moved(ColourAugmentor(0.2, 0.0), size).float()(x, generator(seed))
        assert (colored.images - x).abs().max() <= 0.2 + 1e-5
        perturbed = moved(VAEAugmentor(vae, radius=0.7), size).float()
        assert perturbed.residual(x, generator(seed)).norm(dim=1).max() <= 0.7 + 1e-5


def test_batches_of_one_image():
    x = images()[:1]
    assert torch.equal(moved(BlendAugmentor()).float()(x, generator()).images, x)
    assert MixtureAugmentor()(x, generator()).images.shape == x.shape


def test_a_model_that_is_no_autoencoder(vae):
    config = dict(default_scope='mmpretrain', model=model_config('cls'))
    with pytest.raises(ConfigError, match='ImageClassifier has no encode and no decode'):
        VAEAugmentor(dict(config=config, checkpoint=vae['checkpoint']))


def test_vae_loss_equals_loops():
    torch.manual_seed(0)
    model = ConvVAE(size=(8, 12), channels=2, latent=3, width=2, beta=0.5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
    x = torch.randn(2, 2, 8, 12, dtype=torch.double)
    torch.manual_seed(1)
    losses = model(x, mode='loss')
    torch.manual_seed(1)
    noise = torch.randn(2, 3, dtype=torch.double)
    encoded = nn.Sequential(*model.encoder)(x)
    squared = divergence = 0.0
    for n in range(2):
        latent = []
        for k in range(3):
            mean, log_variance = float(encoded[n, k]), float(encoded[n, 3 + k])
            divergence += 0.5 * (mean**2 + math.exp(log_variance) - 1 - log_variance)
            latent.append(mean + math.exp(log_variance / 2) * float(noise[n, k]))
        made = model.decode(torch.tensor([latent], dtype=torch.double))[0]
        squared += float((0.5 * (made - x[n]) ** 2).sum())
    pixels = 2 * 8 * 12
    assert float(losses['loss_reconstruction']) == pytest.approx(squared / 2 / pixels, abs=1e-9)
    assert float(losses['loss_kl']) == pytest.approx(0.5 * divergence / 2 / pixels, abs=1e-9)
    with pytest.raises(ConfigError, match='multiples of 4'):
        ConvVAE(size=(30, 28))
