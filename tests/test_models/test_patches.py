"""Teachers whose patches do not fill the image."""

from __future__ import annotations

import pytest
import torch
from support.helpers import build

from mmkd.models.patches import fit_patches
from mmkd.models.teacher import Teacher
from mmkd.taps import Tap

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)


def vit(patch: int = 14) -> dict:
    """Return the config of a tiny ViT that yields a map."""
    backbone = dict(type='VisionTransformer', arch=ARCH, img_size=224, patch_size=patch)
    return dict(
        type='ImageClassifier',
        backbone=dict(backbone, with_cls_token=False, out_type='featmap', final_norm=False),
    )


def make_teacher(folder, patch: int = 14) -> Teacher:
    model = build(vit(patch), 'mmpretrain')
    model.init_weights()
    path = str(folder / 'vit.pth')
    torch.save(dict(state_dict=model.state_dict()), path)
    teacher = Teacher(dict(model=vit(patch), default_scope='mmpretrain'), path)
    teacher.open_taps({Tap('backbone'): 'teacher'})
    return teacher


@pytest.mark.parametrize('size', [(128, 128), (140, 140), (100, 160), (57, 240)])
@pytest.mark.parametrize('place', [(0.25, 0.2), (0.45, 0.6), (0.93, 0.9)])
def test_the_map_peaks_where_the_square_is(size, place, tmp_path):
    """Within half a cell, also near the right and lower edge, where padding would shift it."""
    teacher = make_teacher(tmp_path)
    images = torch.zeros(2, 3, *size)
    center = [round(share * side) for share, side in zip(place, size)]
    images[0, :, center[0] - 4 : center[0] + 4, center[1] - 4 : center[1] + 4] = 255.0
    (found,) = teacher(images, None)[Tap('backbone')]
    response = (found[0] - found[1]).norm(dim=0)
    cells = response.shape
    assert cells == tuple(max(round(side / 14), 1) for side in size)
    peak = divmod(int(response.argmax()), cells[1])
    for cell, count, middle, side in zip(peak, cells, center, size):
        pitch = side / count  # the map spans the student's image
        assert abs((cell + 0.5) * pitch - middle) <= pitch / 2


def test_patches_that_fill_the_image_change_nothing(tmp_path):
    teacher = make_teacher(tmp_path, patch=16)
    model = build(vit(16), 'mmpretrain').eval()
    model.load_state_dict(teacher.model.state_dict())
    images = torch.randn(1, 3, 64, 96)
    (found,) = teacher(images, None)[Tap('backbone')]
    assert torch.equal(found, model(images, mode='tensor')[0])


def test_overlapping_patches_and_other_models_have_no_hook():
    mit = dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1] * 4, num_heads=[1] * 4)
    for config, scope in (mit, 'mmseg'), (dict(type='ResNet', depth=18), 'mmpretrain'):
        model = fit_patches(build(config, scope))
        assert not any(module._forward_pre_hooks for module in model.modules())
