"""The CIFAR-100 studies: their options give every row the data and schedule of one student."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from mmengine.config import Config
from support.helpers import CONFIGS, ROOT

STUDENT = CONFIGS / 'students' / 'resnet_r20_cifar100-10k.py'
# Defaults, and what decides the speed alone.
IGNORED = ('type', '_scope_', 'by_epoch', 'persistent_workers')


def comparable(node: Any) -> Any:
    """Return a config as JSON has it, without the keys that say nothing here."""
    if isinstance(node, dict):
        return {k: comparable(v) for k, v in node.items() if k not in IGNORED}
    return [comparable(v) for v in node] if isinstance(node, (list, tuple)) else node


def rows_of(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the rows of a study, each with its whole config."""
    study = Config.fromfile(CONFIGS / 'studies' / f'{name}.yml').to_dict()
    rows = []
    for row in study['rows']:
        cfg = Config.fromfile(ROOT / row['config'])
        cfg.merge_from_dict(copy.deepcopy({**study['options'], **row.get('options', {})}))
        rows.append((row, comparable(cfg.to_dict())))
    return rows


@pytest.mark.parametrize('name', ['c100-10k', 'c100-10k-self'])
def test_rows_differ_in_the_method_alone(name):
    pytest.importorskip('mmpretrain')
    student = comparable(Config.fromfile(STUDENT).to_dict())
    for row, cfg in rows_of(name):
        longer = 'train_cfg.max_epochs' in row.get('options', {})
        keys = ['val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator']
        keys += ['optim_wrapper', 'data_preprocessor']
        keys += [] if longer else ['param_scheduler', 'train_cfg']
        for key in keys:
            assert cfg[key] == student[key], (row['name'], key)
        for key in ('dataset', 'sampler', 'num_workers'):
            assert cfg['train_dataloader'][key] == student['train_dataloader'][key], row['name']
        for part in ('backbone', 'neck', 'head'):
            found, expected = (dict(c['model'][part], loss=None) for c in (cfg, student))
            assert found == expected, (row['name'], part)


@pytest.mark.slow
def test_twice_the_epochs():
    rows = rows_of('c100-10k-200')
    assert len(rows) == len(rows_of('c100-10k'))
    for _, cfg in rows:
        assert cfg['train_cfg']['max_epochs'] == cfg['param_scheduler'][0]['total_steps'] == 200
