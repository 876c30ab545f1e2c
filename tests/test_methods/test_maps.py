"""Methods that compare maps: what ``normalize`` makes of the teacher's scale."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub
from support.samples import sample_of
from support.views import built, mixed_view, random

from mmkd.functional import normalized
from mmkd.methods import ACAM, FGD, MGD, PKD, FeatureMimic, MasKD, Method
from mmkd.mixers import View
from mmkd.registry import build
from mmkd.utils import ConfigError

METHODS = {
    'ACAM': (ACAM, {}),
    'ACAM-reversed': (ACAM, dict(fusion='reversed', reduction='mask_sum')),
    'ACAM-teacher': (ACAM, dict(fusion='teacher', seek='difference')),
    'ACAM-fixed': (ACAM, dict(fusion='fixed')),
    'FGD': (FGD, dict(alpha=0.3, beta=0.2, gamma=0.05, lambda_=0.01)),
    'FeatureMimic': (FeatureMimic, {}),
    'MGD': (MGD, {}),
    'MasKD': (MasKD, {}),
    'MasKD-own-masks': (MasKD, dict(custom_mask_warmup=0)),
}
SHAPES = [(2, 4, 6, 5), (2, 4, 3, 3)]


def maps(channels, seed):
    """Return two levels that differ in scale, with an offset."""
    shapes = [(n, channels, h, w) for n, _, h, w in SHAPES]
    return [random(*s, seed=seed + i) * 3**i + 0.5 for i, s in enumerate(shapes)]


def boxes_view():
    return View.plain(torch.zeros(2, 3, 24, 20), [sample_of([[2.0, 2.0, 9.0, 12.0]]) for _ in 'ab'])


def make(name, tmp_path, student, teacher, scale=1.0, **arguments):
    """Return the method, its own parameters the same in every call.

    The tokens of MasKD belong to the teacher: those of one ``scale`` times as large are learned
    on maps of that size.
    """
    cls, given = METHODS[name]
    arguments = {**given, **arguments}
    if cls is MasKD:  # without token weights, whose head is not linear in the map's scale
        tokens = {f'mask_tokens.{i}.tokens': random(3, 4, seed=i).float() / scale for i in (0, 1)}
        arguments['tokens'] = str(tmp_path / 'tokens.pth')
        torch.save(tokens, arguments['tokens'])
    with torch.random.fork_rng():
        torch.manual_seed(3)
        method = built(cls('a', 'b', **arguments), student, teacher)
        for name, parameter in method.named_parameters():
            if name.startswith('units') and 'weight' not in name:
                torch.nn.init.normal_(parameter)  # masks far from ½
    return method


def losses(method, student, teacher, view):
    """Return the sum of the losses and its gradients on the student and on the parameters."""
    student = [s.clone().requires_grad_() for s in student]
    total = sum(method.compute(student, teacher, view).values())
    trained = [p for p in method.parameters() if p.requires_grad]
    return total.detach(), torch.autograd.grad(total, student + trained, allow_unused=True)


@pytest.mark.parametrize('own', [3, 4])
@pytest.mark.parametrize('how', [None, 'channel', 'map'])
@pytest.mark.parametrize('name', METHODS)
def test_the_scale_of_the_teacher(name, how, own, tmp_path):
    """Ten times as large a teacher: with ``normalize`` loss and gradients stay, without not."""
    MessageHub.get_current_instance().update_info('iter', 0)
    student, teacher, view = maps(own, 0), maps(4, 7), boxes_view()
    large = [10 * t for t in teacher]
    found = [
        losses(make(name, tmp_path, student, t, scale, normalize=how), student, t, view)
        for t, scale in ((teacher, 1.0), (large, 10.0))
    ]
    if how is None:
        assert float(found[1][0]) != pytest.approx(float(found[0][0]), rel=0.1)
        return
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=0)
    gradients = [[g for g in gradients if g is not None] for _, gradients in found]
    largest = max(float(g.abs().max()) for g in gradients[0])
    for a, b in zip(*gradients, strict=True):  # that of a bias that drops out is rounding alone
        atol = 1e-5 * float(a.abs().max()) + 1e-12 * largest
        torch.testing.assert_close(b, a, rtol=0, atol=atol)


@pytest.mark.parametrize('how', ['channel', 'map'])
@pytest.mark.parametrize('name', [n for n in METHODS if not n.startswith('MasKD')])
def test_equals_the_raw_loss_of_normalized_maps(name, how, tmp_path):
    student, teacher, view = maps(4, 0), maps(4, 7), boxes_view()
    found, expected = (
        losses(make(name, tmp_path, s, t, normalize=n), s, t, view)[0]
        for s, t, n in (
            (student, teacher, how),
            ([normalized(s, how) for s in student], [normalized(t, how) for t in teacher], None),
        )
    )
    half = 0.5 if name == 'FeatureMimic' else 1.0
    torch.testing.assert_close(found, half * expected)


@pytest.mark.parametrize('how', ['channel', 'map'])
def test_tokens_see_raw_maps(how, tmp_path):
    """A student that is the teacher, but for its scale, has the teacher's masks and no loss."""
    teacher, view = maps(4, 7), boxes_view()
    student = [0.1 * t for t in teacher]
    plain = make('MasKD', tmp_path, student, teacher)
    method = make('MasKD-own-masks', tmp_path, student, teacher, normalize=how)
    for raw, both in zip(*(m.masks(student, teacher, view) for m in (plain, method))):
        torch.testing.assert_close(both, raw.square(), rtol=1e-4, atol=1e-5)
    assert float(method.compute(student, teacher, view)['maskd']) < 1e-9


@pytest.mark.parametrize('how', ['channel', 'map'])
def test_the_teachers_maps_are_simulated_first(how):
    student, teacher, view = [random(2, 3, 8, 8)], [random(2, 3, 8, 8, seed=1) * 4], mixed_view(2)
    loss = built(FeatureMimic('a', 'b', normalize=how), student, teacher)
    simulated = normalized(view.simulate(teacher[0]), how)
    expected = 0.5 * (normalized(student[0], how) - simulated).square().mean()
    torch.testing.assert_close(loss.compute(student, teacher, view)['mimic'], expected)


def test_pictures_of_fgd_show_the_attention_of_the_normalized_map():
    teacher, view = maps(4, 7), boxes_view()
    method = built(FGD('a', 'b', normalize='map'), teacher, teacher)
    large = [10 * t for t in teacher]
    for a, b in zip(method.masks(teacher, teacher, view), method.masks(large, large, view)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('cls', ['ACAM', 'FGD', 'FeatureMimic', 'MGD', 'MasKD'])
def test_unknown_normalizations_are_refused(cls):
    config = dict(type=f'mmkd.{cls}', student='neck', teacher='neck', normalize='image')
    if cls == 'MasKD':
        config['tokens'] = 'tokens.pth'
    message = r"^methods\.m\.normalize: must be one of None, 'channel', 'map', got 'image'"
    with pytest.raises(ConfigError, match=message):
        build(config, Method, 'methods.m')


@pytest.mark.parametrize(('old', 'new'), [(True, 'channel'), (False, None)])
def test_truth_values_are_deprecated(old, new):
    with pytest.warns(FutureWarning, match=f'normalize={old} .* use normalize={new!r}'):
        assert FeatureMimic('a', 'b', normalize=old).normalize == new


def test_pkd_is_standardized():
    assert PKD('a', 'b').normalize == 'channel'
