"""Bad files, annotations and pixels: one error that names the file or key, or training goes on.

Faults outside the config are found at three places: before the Runner is built, when a sample is
read, and before its batch is used.
"""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from support.bad_configs import AT_BUILD
from support.bad_data import DATA
from support.config_mistakes import working
from support.helpers import build
from support.runs import run_config, train
from support.tiny_models import SCOPES, make_student

from mmkd.cli.train import check_inputs, explain_empty_data
from mmkd.engine.data_check import DataError, NamingPipeline, check_batch, name_files
from mmkd.utils import ConfigError

FAULTS = [name for name, (_, _, message) in DATA.items() if message]
HANDLED = [name for name in DATA if name not in FAULTS]


def look(task: str, cfg: Any) -> None:
    """Run everything up to the first step."""
    check_inputs(cfg)
    model = {k: v for k, v in cfg.model.items() if k not in ('distill', 'student')}
    with DefaultScope.overwrite_default_scope(SCOPES[task]):
        with explain_empty_data():
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
        name_files(dataset)
        batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    check_batch(batch, build(dict(model, type=cfg.model.student), SCOPES[task]))


def faulty(name: str, shapes: Any, folder: Any, distill: Any) -> tuple[str, Any]:
    """Return the task and config of a run on a copy of the sample data with one fault."""
    task, change, _ = DATA[name]
    root = folder / 'shapes'
    shutil.copytree(shapes, root)
    cfg = run_config(task, root, folder / 'run', distill, epochs=1)
    change(root, cfg)
    return task, cfg


def test_enough_is_tried():
    assert len(AT_BUILD) + len(FAULTS) >= 90


@pytest.mark.parametrize('task', SCOPES)
def test_nothing_is_wrong_with_good_data(task, shapes, tmp_path):
    look(task, run_config(task, shapes, tmp_path / 'run', {}))


@pytest.mark.parametrize('name', FAULTS)
def test_fault(name, shapes, tmp_path):
    with pytest.raises(ConfigError) as caught:
        look(*faulty(name, shapes, tmp_path, {}))
    text = str(caught.value)
    assert re.search(DATA[name][2], text), text
    assert len(text.splitlines()) == 1 and len(text) < 400


@pytest.mark.parametrize('name', HANDLED)
def test_handled(name, shapes, tmp_path):
    task = DATA[name][0]
    _, cfg = faulty(name, shapes, tmp_path, working(task, tmp_path))
    runner = train(cfg)
    assert runner.iter == 4
    scalars = MessageHub.get_current_instance().log_scalars
    losses = {k: v.data[0] for k, v in scalars.items() if 'loss' in k}
    assert len([k for k in losses if 'distill' in k]) >= 2
    assert all(abs(float(v)) < float('inf') for values in losses.values() for v in values)
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_error_of_a_worker_is_one_line(shapes, tmp_path):
    """An error of a worker process arrives as text with a traceback."""
    _, cfg = faulty('map is text', shapes, tmp_path, {})
    cfg.train_dataloader.update(num_workers=1, batch_size=8)
    with pytest.raises(DataError) as caught:
        Runner.from_cfg(cfg).train()
    assert re.search(DATA['map is text'][2], str(caught.value)), caught.value
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_paths_beyond_ascii(shapes, tmp_path):
    root = tmp_path / 'dätä 数据 é'
    shutil.copytree(shapes, root)
    cfg = run_config('seg', root, tmp_path / 'läuft ∂', working('seg', tmp_path), epochs=1)
    check_inputs(cfg)
    assert train(cfg).iter == 4
    assert (tmp_path / 'läuft ∂' / 'epoch_1.pth').is_file()


def test_image_of_no_pixels():
    student = make_student('cls')
    with pytest.raises(DataError, match=r'sample \?: the image is empty: \(3, 0, 4\)'):
        check_batch(dict(inputs=[torch.zeros(3, 0, 4)]), student)


def test_boxes_that_are_not_finite():
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_path='a.png'))
    boxes = torch.tensor([[0.0, 0.0, float('nan'), 4.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(1, dtype=torch.long))
    batch = dict(inputs=torch.zeros(1, 3, 8, 8), data_samples=[sample])
    with pytest.raises(DataError, match=r'a\.png: boxes are NaN'):
        check_batch(batch, make_student('det'))


def test_a_pipeline_stays_within_reach():
    pipeline = NamingPipeline(AT_BUILD)
    assert list(pipeline.keys()) == list(AT_BUILD)
    with pytest.raises(AttributeError):
        _ = pipeline.transforms


@pytest.mark.slow
def test_scaled_rate_counts_images(shapes, tmp_path):
    """Pairs and repeated images count as images of the step: ``batch_size`` decides."""
    from mmkd.datasets import PreviousBatchSampler, SameClassPairBatchSampler

    for kind in (SameClassPairBatchSampler, PreviousBatchSampler, None):
        cfg = run_config('cls', shapes, tmp_path / f'{kind}', {}, epochs=1)
        cfg.train_dataloader.batch_size = 4
        cfg.auto_scale_lr = dict(enable=True, base_batch_size=16)
        if kind is not None:
            cfg.train_dataloader.batch_sampler = dict(type=f'mmkd.{kind.__name__}')
        runner = Runner.from_cfg(cfg)
        largest = max(len(batch['inputs']) for batch in runner.train_dataloader)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
        assert largest == 4
        assert runner.optim_wrapper.get_lr()['lr'] == [0.01 * largest / 16]
