"""Images of masks and differences: their interval and their values."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from support.runs import dataset_config, run_config, train
from support.tiny_models import (
    LOGITS,
    MIMIC,
    make_student,
    preprocessed,
    teacher_config,
    weights_hash,
)

from mmkd.cli.quickstart_report import read_losses
from mmkd.cli.vis_masks import vis_masks
from mmkd.engine import DistillHook
from mmkd.engine.visualization import Observer, draw_sheet
from mmkd.methods import ACAM
from mmkd.utils import ConfigError

MASKS = dict(type='mmkd.ACAM', student='neck', teacher='neck', levels=(0, 1), num_masks=2)


def distill_of(folder, **methods):
    return dict(teacher=teacher_config('det', folder), methods=methods or dict(acam=MASKS))


def hooks(**arguments):
    return dict(
        checkpoint=dict(type='CheckpointHook', interval=1),
        logger=dict(type='LoggerHook', interval=1),
        distill=dict(type='mmkd.DistillHook', **arguments),
    )


def run(shapes, folder, distill, **arguments):
    test = dict(batch_size=1, dataset=dataset_config('det', shapes, 'test'))
    cfg = run_config('det', shapes, folder, distill, epochs=1, default_hooks=hooks(**arguments))
    runner = train(cfg)
    cfg.test_dataloader = test
    return runner, cfg


def pictures(folder):
    return {path.name for path in folder.glob('*/vis_data/vis_image/*')}


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """Return the folder, the runner and the config of four iterations, two of them drawn."""
    folder = tmp_path_factory.mktemp('drawn')
    methods = dict(acam=MASKS, feature=MIMIC['det'], logits=LOGITS['det'])
    distill = distill_of(folder, **methods)
    return folder, *run(shapes, folder, distill, vis_interval=2, vis_images=2)


def test_pictures_and_areas_at_the_interval(trained):
    folder, runner, _ = trained
    assert pictures(folder) == {
        f'distill_{name}_image{i}_{step}.png'
        for name in ('acam', 'feature')  # logits have neither masks nor adapters
        for i in (0, 1)
        for step in (2, 4)
    }
    (log,) = folder.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    areas = {row['step']: row for row in rows if 'distill.acam.area_level0_mask0' in row}
    assert sorted(areas) == [2, 4]
    names = {f'distill.acam.area_level{level}_mask{m}' for level in (0, 1) for m in (0, 1)}
    assert names < set(areas[2])
    assert all(0.3 < areas[2][name] < 0.7 for name in names)
    assert runner.model.distiller.recorder is None
    assert read_losses(folder)[0] == [1, 2, 3, 4]  # areas add no steps


def test_nothing_on_other_ranks_and_the_same_training(trained, shapes, tmp_path, monkeypatch):
    _, drawn, cfg = trained
    monkeypatch.setattr('mmkd.engine.hooks.distill_hook.is_main_process', lambda: False)
    runner, _ = run(shapes, tmp_path, cfg.model.distill, vis_interval=1)
    assert not pictures(tmp_path)
    assert weights_hash(runner.model) == weights_hash(drawn.model)


def test_nothing_without_interval_nor_for_plain_students(trained):
    _, runner, _ = trained
    DistillHook().before_train_iter(runner, 0)
    assert runner.model.distiller.recorder is None
    plain = SimpleNamespace(model=torch.nn.Linear(1, 1), iter=0)
    DistillHook(vis_interval=1).before_train_iter(plain, 0)
    DistillHook(vis_interval=1).after_train_iter(plain, 0)


def seen_in_a_step(folder, mixer=None, **methods):
    model = make_student('det', mixer=mixer, **distill_of(folder, **methods))
    model.distiller.recorder = Observer(model.data_preprocessor)
    inputs, samples = preprocessed(model, 'det')
    model(inputs, samples, mode='loss')
    return model, model.distiller.recorder.seen


def test_what_is_seen(tmp_path):
    """The masks equal the method's, and the differences give its unmasked loss."""
    feature = dict(MIMIC['det'], levels=(0, 1))
    whole = dict(
        type='mmkd.PatchMixSimulationKD',
        feature={k: v for k, v in feature.items() if k != 'type'},
        logits={k: v for k, v in LOGITS['det'].items() if k != 'type'},
    )
    model, seen = seen_in_a_step(
        tmp_path, dict(type='mmkd.PatchMix'), acam=MASKS, feature=feature, whole=whole
    )
    assert set(seen) == {'acam', 'feature', 'whole'}
    assert seen['acam'].images.shape == (2, 64, 64, 3)
    assert [m.shape for m in seen['acam'].masks] == [(2, 2, 8, 8), (2, 2, 4, 4)]
    assert not seen['feature'].masks and not seen['feature'].areas()
    assert seen['acam'].areas()['area_level1_mask0'] == pytest.approx(
        float(seen['acam'].masks[1][:, 0].mean())
    )
    torch.manual_seed(0)
    losses = model(*preprocessed(model, 'det'), mode='loss')
    for name, term in (('feature', 'mimic'), ('whole', 'feature_mimic')):
        again = model.distiller.recorder.seen[name].differences
        assert [d.shape for d in again] == [(2, 8, 8), (2, 4, 4)]
        total = sum(float(d.mean()) for d in again)
        assert total == pytest.approx(float(losses[f'distill.{name}.loss_{term}']), rel=1e-5)


def test_sheet(tmp_path):
    """Masks have a fixed scale: a mask of ones differs from a mask of zeros."""
    _, seen = seen_in_a_step(tmp_path)
    sheets = []
    for value in (0.0, 1.0):
        seen['acam'].masks[0] = torch.full((2, 2, 8, 8), value)
        sheets.append(draw_sheet(seen['acam'], 1))
    assert sheets[0].dtype == np.uint8 and sheets[0].shape == sheets[1].shape
    assert sheets[0].shape[2] == 3 and sheets[0].shape[1] > 400
    assert (sheets[0] != sheets[1]).mean() > 0.01


def test_vis_masks_after_training(trained, shapes, tmp_path):
    folder, _, cfg = trained
    images = sorted((shapes / 'img_dir/test').glob('*'))[:2]
    paths = vis_masks(cfg, folder / 'epoch_1.pth', images, tmp_path)
    names = [f'{image.stem}_{name}.png' for image in images for name in ('acam', 'feature')]
    assert [path.name for path in paths] == names
    drawn = [cv2.imread(str(path)) for path in paths]
    assert [picture.shape[1] > 400 for picture in drawn] == [True, False] * 2  # with masks
    assert (drawn[0] != drawn[2]).any()


def test_vis_masks_needs_what_was_trained(trained, shapes, tmp_path):
    folder, _, cfg = trained
    checkpoint = folder / 'epoch_1.pth'
    images = sorted((shapes / 'img_dir/test').glob('*'))[:1]
    content = torch.load(checkpoint, weights_only=False)
    del content['distiller']
    torch.save(content, tmp_path / 'plain.pth')
    with pytest.raises(ConfigError, match=r"checkpoint: .*has no 'distiller' entry"):
        vis_masks(cfg, tmp_path / 'plain.pth', images, tmp_path)
    with pytest.raises(ConfigError, match=r'images: .*nowhere\.png'):
        vis_masks(cfg, checkpoint, [tmp_path / 'nowhere.png'], tmp_path)
    other = copy.deepcopy(cfg)
    other.model.distill.methods.acam.num_masks = 3
    with pytest.raises(ConfigError, match='checkpoint: does not fit'):
        vis_masks(other, checkpoint, images, tmp_path)
    other.model.distill = None
    with pytest.raises(ConfigError, match=r'model\.distill: '):
        vis_masks(other, checkpoint, images, tmp_path)


def test_the_masks_of_the_tool_are_those_of_the_checkpoint(tmp_path):
    """`look` reads a batch as a step without mixing does."""
    model = make_student('det', **distill_of(tmp_path)).eval()
    inputs, samples = preprocessed(model, 'det')
    seen = []
    for act in (model.distiller.visualize, lambda m, x, s: m(x, s, mode='loss')):
        model.distiller.recorder = Observer(model.data_preprocessor)
        act(model, inputs, samples)
        seen.append(model.distiller.recorder.seen['acam'])
    for a, b in zip(seen[0].masks + seen[0].differences, seen[1].masks + seen[1].differences):
        torch.testing.assert_close(a, b)
    assert isinstance(model.distiller.methods['acam'], ACAM)
