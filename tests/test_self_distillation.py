"""Whole runs without a teacher: the real Runner with the real loader, on the generated data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from support.helpers import ROOT, build, read_config
from support.runs import evaluation, run_config, train
from support.tiny_models import SCOPES, TASKS, ips, model_config

from mmkd.utils import ConfigError, plain_config
from mmkd.utils.student_config import mmkd_keys, plain_options

PAIRS = dict(type='mmkd.SameClassPairBatchSampler', anchors_per_epoch='half')


def config_of(task: str, shapes: Path, folder: Path, **kwargs) -> Config:
    """Return the config of a run whose batches are pairs."""
    cfg = run_config(task, shapes, folder, ips(task), **kwargs)
    cfg.train_dataloader.batch_size = 4
    if task == 'cls':
        cfg.train_dataloader.batch_sampler = dict(PAIRS)
        cfg.train_dataloader.dataset.pop('indices')  # several classes
    return cfg


@pytest.mark.parametrize('task', TASKS)
def test_a_whole_run(task, shapes, tmp_path):
    """As many steps as the plain student, and a checkpoint of nothing but the student."""
    cfg = config_of(task, shapes, tmp_path / 'run', epochs=1, **evaluation(task, shapes))
    runner = train(cfg)
    assert runner.iter == -(-len(runner.train_dataloader.dataset) // 4)
    assert 'train/distill.ips.loss_pair' in runner.message_hub.log_scalars
    state = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['state_dict']
    student = build(model_config(task), SCOPES[task])
    assert list(state) == list(student.state_dict())
    student.load_state_dict(state, strict=True)


def test_resuming_draws_the_same_pairs_and_patches(shapes, tmp_path):
    def config(name):
        cfg = config_of('cls', shapes, tmp_path / name, epochs=3)
        cfg.train_dataloader.dataset.pipeline[1].prob = 0.0  # flips are not resumed
        return cfg

    whole = train(config('whole')).model.state_dict()
    cut = config('cut')
    cut.train_cfg.max_epochs = 1
    train(cut)
    again = config('cut')
    again.resume = True
    torch.rand(5)
    resumed = train(again).model.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_shuffled_batches_are_refused(shapes, tmp_path):
    cfg = config_of('cls', shapes, tmp_path, epochs=1)
    cfg.train_dataloader.pop('batch_sampler')
    with pytest.raises(ConfigError, match=r'^train_dataloader\.batch_sampler: '):
        train(cfg)


def test_multi_label_and_detection_data_are_refused(shapes, tmp_path):
    cfg = config_of('det', shapes, tmp_path)
    cfg.train_dataloader.batch_sampler = dict(PAIRS)
    message = r'^train_dataloader\.dataset: .*exactly one: .*single-label'
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(ConfigError, match=message):
        Runner.build_dataloader(cfg.train_dataloader.to_dict(), seed=0)


def test_the_plain_student_has_plain_batches(shapes, tmp_path):
    cfg = config_of('cls', shapes, tmp_path)
    options = plain_options(cfg)
    size = cfg.train_dataloader.batch_size
    assert options == {
        'model.distill': None,
        'train_dataloader.batch_sampler': None,
        'train_dataloader.batch_size': size,
    }
    assert plain_options(config_of('det', shapes, tmp_path)) == {'model.distill': None}
    cfg.train_dataloader.batch_sampler.pop('anchors_per_epoch')  # all, so pairs take two places
    assert plain_options(cfg)['train_dataloader.batch_size'] == size // 2
    cut = plain_config(cfg)
    assert cut.train_dataloader.batch_size == size // 2
    assert 'batch_sampler' not in cut.train_dataloader
    assert not list(mmkd_keys(cut.to_dict()))
    assert 'batch_sampler' in cfg.train_dataloader
    cfg.merge_from_dict(options)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(cfg.train_dataloader.to_dict(), seed=0)
    assert type(loader.batch_sampler) is torch.utils.data.BatchSampler


def test_a_detector_inherits_the_backbone_of_a_self_distilled_classifier(tmp_path):
    """The keys of the two configs of the chain fit, so nothing is left at random."""
    classifier = plain_config(read_config('configs/ips/resnet_self_r18-w16_shapes-cls-64px.py'))
    torch.manual_seed(1)
    source = build(classifier.model, 'mmpretrain')
    source.init_weights()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'epoch_10.pth')
    cfg = Config.fromfile(ROOT / 'configs/students/retinanet_r18-w16-ips_shapes-det.py')
    init = cfg.model.backbone.init_cfg
    assert init.checkpoint.endswith('resnet_self_r18-w16_shapes-cls-64px/epoch_10.pth')
    init.checkpoint = str(tmp_path / 'epoch_10.pth')
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model)
        detector.init_weights()
    given, taken = source.backbone.state_dict(), detector.backbone.state_dict()
    assert list(given) == list(taken)
    assert all(torch.equal(given[name], taken[name]) for name in given)
