"""Pictures of batches, and the drawing of labeled images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from mmengine.config import Config

from mmkd.cli.browse_batch import browse_batches
from mmkd.cli.drawing import format_sources, most_confident
from mmkd.mixers import MixUp, Part, PatchMix, View
from mmkd.models.normalization import denormalize


@pytest.mark.slow
def test_browse_batch(workspace):
    printed = workspace.run(
        'tools/browse_batch.py',
        workspace.config('det'),
        '--out',
        'browsed',
        '--batches',
        '1',
        '--cfg-options',
        'model.distill.teacher.checkpoint=nowhere.pth',
        'model.distill.mixer.prob=1.0',
    )
    assert 'browsed/batch_0.png' in printed
    assert cv2.imread(str(workspace.folder / 'browsed/batch_0.png')).shape[1] > 1000


@pytest.mark.parametrize('mixer', [None, dict(type='mmkd.MixUp'), dict(type='mmkd.CutMix')])
@pytest.mark.parametrize('task', ['seg', 'cls'])
def test_browse_any_mixer(workspace, task, mixer, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace.folder)
    cfg = Config.fromfile(workspace.config(task))
    cfg.model.distill.mixer = mixer
    paths = browse_batches(cfg, tmp_path, batches=2, images=3)
    assert paths
    assert all(cv2.imread(str(path)) is not None for path in paths)


@pytest.mark.parametrize(
    ('config', 'shown'),
    [
        ('ips/resnet_self_r18-w8_shapes-cls.py', [0, 16, 1]),
        ('ips/pspnet_self_r18-w16_shapes-seg.py', [0, 4, 1]),
        ('ips/retinanet_self_r18-w16_shapes-det.py', [0, 1, 2]),
    ],
)
def test_browse_swapped_pairs(workspace, config, shown, tmp_path, monkeypatch):
    """Partners side by side, with the borders of what was exchanged between them."""
    monkeypatch.chdir(workspace.folder)
    cfg = Config.fromfile(workspace.config(config))
    cfg.model.distill.mixer.prob = 1.0
    cfg.train_dataloader.batch_size = min(cfg.train_dataloader.batch_size, 32)
    titles, borders = [], []
    monkeypatch.setattr(Axes, 'set_title', lambda axes, text, **_: titles.append(text))
    add = Axes.add_collection
    monkeypatch.setattr(
        Axes, 'add_collection', lambda axes, c, **k: (borders.append(c), add(axes, c, **k))
    )
    (path,) = browse_batches(cfg, tmp_path, batches=1, images=3)
    assert cv2.imread(str(path)) is not None
    assert [title.split(',')[0] for title in titles] == [f'image {i}' for i in shown]
    assert any('% ' in title for title in titles)
    assert len(borders) >= 2


def test_denormalize_is_the_inverse(workspace):
    from mmkd.utils import plain_config
    from mmkd.utils.loading import build_plain

    bgr = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    for to_rgb in (True, False):
        cfg = plain_config(Config.fromfile(workspace.config('cls')))
        cfg.data_preprocessor.to_rgb = to_rgb
        preprocessor = build_plain(cfg, 'model').data_preprocessor
        pictures = denormalize(preprocessor(dict(inputs=bgr))['inputs'], preprocessor)
        assert np.array_equal(pictures, bgr.flip(1).permute(0, 2, 3, 1).numpy())


def test_sources_are_named():
    assert format_sources(View.plain(torch.zeros(2, 3, 8, 8), None), 0) == 'not mixed'
    for mixer in (PatchMix(variant='permutation'), MixUp()):
        drawn = mixer.draw(2, (8, 8), torch.Generator().manual_seed(0))
        parts = [Part(source, weight.expand(2, 1, 8, 8)) for source, weight in drawn]
        view = View(torch.zeros(2, 3, 8, 8), None, torch.zeros(2, 3, 8, 8), None, parts)
        assert 'image 1' in format_sources(view, 0)


def test_one_box_for_one_object():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    assert most_confident(boxes, torch.tensor([0.4, 0.9, 0.7])).tolist() == [2, 1]
    assert most_confident(boxes[:0], torch.zeros(0)).tolist() == []
