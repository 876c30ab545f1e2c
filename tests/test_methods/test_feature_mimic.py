"""FeatureMimic against loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support import naive
from support.tiny_models import make_student, preprocessed, teacher_config
from support.views import built, mixed_view, plain_view, random

from mmkd.methods import FeatureMimic
from mmkd.mixers import PatchMix
from mmkd.utils import ConfigError


@pytest.mark.parametrize('student_channels', [None, 6])
def test_mimic_is_the_sum_over_levels(student_channels):
    shapes = [(2, 3, 4, 5), (2, 4, 1, 1)]  # two levels, the second a single cell
    teacher = [random(*s, seed=i) for i, s in enumerate(shapes)]
    student = [random(s[0], student_channels or s[1], *s[2:], seed=9) for s in shapes]
    method = built(FeatureMimic('a', 'b'), student, teacher)
    loss = method.compute(student, teacher, plain_view())
    assert list(loss) == ['mimic']
    total = 0.0
    for adapter, s, t in zip(method.adapters, student, teacher):
        if student_channels:
            weight, bias = adapter.project.weight[:, :, 0, 0], adapter.project.bias
            s = torch.stack(
                [
                    torch.stack(
                        [
                            torch.stack(
                                [weight @ s[n, :, y, x] + bias for x in range(s.shape[3])], 1
                            )
                            for y in range(s.shape[2])
                        ],
                        1,
                    )
                    for n in range(s.shape[0])
                ]
            )
        else:
            assert not list(adapter.parameters())
        assert s.shape == t.shape
        squares = [(float(a) - float(b)) ** 2 for a, b in zip(s.flatten(), t.flatten())]
        total += sum(squares) / len(squares)
    assert float(loss['mimic']) == pytest.approx(total, rel=1e-6)


def test_spatial_size_is_interpolated_to_the_teachers():
    student, teacher = [random(2, 3, 4, 4)], [random(2, 3, 8, 6)]
    method = built(FeatureMimic('a', 'b', resize=True), student, teacher)
    loss = method.compute(student, teacher, plain_view())['mimic']
    resized = F.interpolate(student[0], (8, 6), mode='bilinear', align_corners=False)
    assert float(loss) == pytest.approx(float((resized - teacher[0]).square().mean()), rel=1e-9)


@pytest.mark.parametrize(('size', 'kernel'), [(8, 3), (2, 4), (4, 1), (5, 1)])
def test_regressor_of_mdistiller(size, kernel):
    """A kernel by the ratio of the sizes, batch statistics, ReLU; other ratios are interpolated."""
    student, teacher = [random(3, 2, size, size)], [random(3, 4, 4, 4, seed=1)]
    method = built(FeatureMimic('a', 'b', adapter='regressor', resize=True), student, teacher)
    conv = method.adapters[0].project[0]
    assert conv.kernel_size == (kernel, kernel)
    x = conv(student[0])
    assert size == 5 or x.shape == teacher[0].shape
    expected = torch.empty_like(x)
    for c in range(4):
        std = (x[:, c].var(unbiased=False) + 1e-5).sqrt()
        expected[:, c] = ((x[:, c] - x[:, c].mean()) / std).clamp(min=0)
    if size == 5:
        expected = F.interpolate(expected, (4, 4), mode='bilinear', align_corners=False)
    loss = method.compute(student, teacher, plain_view())['mimic']
    torch.testing.assert_close(loss, (expected - teacher[0]).square().mean())


def test_a_convolution_also_where_the_channels_agree():
    student, teacher = [random(2, 3, 4, 4)], [random(2, 3, 4, 4, seed=1)]
    method = built(FeatureMimic('a', 'b', adapter='conv'), student, teacher)
    weight, bias = method.adapters[0].project.weight[:, :, 0, 0], method.adapters[0].project.bias
    projected = torch.einsum('oc,nchw->nohw', weight, student[0]) + bias[:, None, None]
    loss = method.compute(student, teacher, plain_view())['mimic']
    torch.testing.assert_close(loss, (projected - teacher[0]).square().mean())


def test_maps_of_different_strides_are_refused_with_the_levels_that_correspond():
    def maps(*sides):
        return [random(2, 3, side, side) for side in sides]

    message = r"student's maps have sizes 16×16, 8×8, 4×4 and the teacher's 32×32, 16×16, 8×8"
    with pytest.raises(ConfigError, match=message) as error:
        built(FeatureMimic('a', 'b'), maps(16, 8, 4), maps(32, 16, 8))
    assert "the student's (0, 1) correspond to the teacher's (1, 2)" in str(error.value)
    assert str(error.value).startswith('resize')
    with pytest.raises(ConfigError, match='none of them correspond; or set resize=True'):
        built(FeatureMimic('a', 'b'), maps(16), maps(4))
    built(FeatureMimic('a', 'b', resize=True), maps(16), maps(4))


def test_normalized_mimic():
    student, teacher = [random(2, 3, 4, 5)], [random(2, 3, 4, 5, seed=1)]
    method = built(FeatureMimic('a', 'b', normalize='channel'), student, teacher)
    loss = method.compute(student, teacher, plain_view())['mimic']
    sides = []
    for x in (student[0], teacher[0]):
        std = x.transpose(0, 1).flatten(1).std(1)[:, None, None]
        sides.append((x - x.mean((0, 2, 3), keepdim=True)) / (std + 1e-6))
    expected = (sides[0] - sides[1]).square().mean() / 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    scaled = method.compute([student[0] * 3 + 7], teacher, plain_view())['mimic']
    assert float(scaled) == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize('interior_only', [0, 1])
@pytest.mark.parametrize('normalize', [False, True])
def test_mimic_of_mixed_images(interior_only, normalize):
    batch, size = 3, (16, 16)
    mixer = PatchMix(variant='permutation', grid=(2, 2), num_images=2)
    view = mixed_view(batch, mixer)
    maps = naive.source_maps(mixer, batch, size)
    student, teacher = [random(batch, 2, 8, 8)], [random(batch, 2, 8, 8, seed=1)]
    method = built(
        FeatureMimic('a', 'b', interior_only=interior_only, normalize=normalize), student, teacher
    )
    simulated = naive.simulated(teacher[0], maps)
    mask = naive.interior(maps, (8, 8), interior_only) if interior_only else torch.ones(3, 1, 8, 8)
    assert mask.any() and (interior_only == 0 or not mask.all())
    sides = [student[0], simulated]
    if normalize:
        sides = [
            (x - x.mean((0, 2, 3), keepdim=True)) / (x.std((0, 2, 3), keepdim=True) + 1e-6)
            for x in sides
        ]
    difference = (sides[0] - sides[1]).square() * mask
    expected = float(difference.sum() / (mask.sum() * 2)) * (0.5 if normalize else 1.0)
    loss = method.compute(student, teacher, view)['mimic']
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('mixed', [False, True])
def test_mimic_is_zero_where_the_student_equals_the_teacher(normalize, mixed):
    teacher = [random(2, 3, 8, 8)]
    view = mixed_view(2) if mixed else plain_view()
    method = built(FeatureMimic('a', 'b', normalize=normalize), teacher, teacher)
    assert float(method.compute([view.simulate(teacher[0])], teacher, view)['mimic']) == 0.0


def test_a_hint_stage_trains_the_front_alone(tmp_path):
    """The student's own loss has weight 0, and yet every parameter has a gradient, as DDP wants."""
    hint = dict(type='mmkd.FeatureMimic', student='backbone.layer2', teacher='backbone.layer2')
    model = make_student('cls', teacher=teacher_config('cls', tmp_path), methods=dict(hint=hint))
    model.head.loss_module.loss_weight = 0.0
    total, _ = model.parse_losses(model(*preprocessed(model, 'cls'), mode='loss'))
    total.backward()
    own = {n: p.grad for n, p in model.named_parameters()}
    assert all(gradient is not None for gradient in own.values())
    behind = ('backbone.layer3', 'backbone.layer4', 'head')
    assert not any(g.any() for n, g in own.items() if n.startswith(behind))
    for part in ('backbone.conv1', 'backbone.layer2', 'distiller.methods.hint.adapters'):
        assert any(g.any() for n, g in own.items() if n.startswith(part))
