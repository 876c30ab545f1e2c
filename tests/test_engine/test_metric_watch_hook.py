"""MetricWatchHook: its reference, warnings and stops."""

from __future__ import annotations

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from support.runs import evaluation, run_config, train

from mmkd.engine import MetricWatchHook
from mmkd.utils import ConfigError

VALUES: list[float] = []


@METRICS.register_module(force=True)
class Scripted(BaseMetric):
    """Returns the scripted values, one per validation."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(top1=VALUES.pop(0))


def config(shapes, folder, epochs=2, **watch):
    cfg = run_config(
        'cls',
        shapes,
        folder,
        epochs=epochs,
        custom_hooks=[dict(type='mmkd.MetricWatchHook', metric='scripted/top1', **watch)],
        **evaluation('cls', shapes),
    )
    cfg.val_evaluator = dict(type='Scripted', prefix='scripted')
    return cfg


@pytest.mark.parametrize('values', [[90.0, 89.0, 89.0], [90.0, 95.0, 89.5]])
def test_a_fall_within_the_limit_is_no_matter(values, shapes, tmp_path):
    """A drop of exactly max_drop is allowed; the reference is the start, not the best value."""
    VALUES[:] = values
    runner = train(config(shapes, tmp_path, max_drop=1.0))
    assert not VALUES and runner.epoch == 2
    assert 'fell' not in (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()


def test_stop(shapes, tmp_path):
    VALUES[:] = [90.0, 88.9, 0.0]
    with pytest.raises(
        ConfigError, match=r'scripted/top1 on val fell from 90\.00 to 88\.90.*lower'
    ):
        train(config(shapes, tmp_path, max_drop=1.0))
    assert VALUES == [0.0]


def test_warn(shapes, tmp_path):
    VALUES[:] = [90.0, 88.9, 89.0]
    runner = train(config(shapes, tmp_path, max_drop=1.0, action='warn'))
    log = (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()
    assert runner.epoch == 2
    assert log.count('fell from 90.00 to') == 1 and 'to 88.90' in log


def test_a_resumed_run_compares_with_the_first_start(shapes, tmp_path):
    """It does not validate again before training."""
    VALUES[:] = [90.0, 89.5]
    train(config(shapes, tmp_path, epochs=1, max_drop=1.0))
    VALUES[:] = [88.0]
    cfg = config(shapes, tmp_path, epochs=2, max_drop=1.0)
    cfg.resume = True
    with pytest.raises(ConfigError, match=r'fell from 90\.00 to 88\.00'):
        train(cfg)


def test_the_first_validation_is_that_of_the_loaded_weights(shapes, tmp_path):
    """It has no side effects: training equals that without the hook."""
    plain = run_config('cls', shapes, tmp_path / 'a', epochs=1, **evaluation('cls', shapes))
    VALUES[:] = [90.0, 90.0]
    states = [
        train(cfg).model.state_dict()
        for cfg in (without_flips(plain), without_flips(config(shapes, tmp_path / 'b', 1)))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))


def without_flips(cfg):
    cfg.train_dataloader.dataset.pipeline[1].prob = 0.0
    return cfg


def test_bad_arguments(shapes, tmp_path):
    with pytest.raises(ConfigError, match=r'MetricWatchHook\.action'):
        MetricWatchHook(action='hope')
    with pytest.raises(ConfigError, match=r'MetricWatchHook\.max_drop'):
        MetricWatchHook(max_drop=-1)
    VALUES[:] = [90.0]
    cfg = config(shapes, tmp_path)
    cfg.custom_hooks[0].metric = 'scripted/top5'
    with pytest.raises(ConfigError, match=r"no 'scripted/top5'; the nearest are: scripted/top1"):
        train(cfg)
    cfg = run_config('cls', shapes, tmp_path, custom_hooks=[dict(type='mmkd.MetricWatchHook')])
    with pytest.raises(ConfigError, match='needs a validation'):
        train(cfg)
