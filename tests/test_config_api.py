"""Configs that inherit mmkd's by name."""

from __future__ import annotations

import runpy
import sys

import pytest
from mmengine.config import Config
from support.helpers import CONFIGS, ROOT, all_bases_of

import mmkd

# Those that inherit no other package, where all types are found by scope; one of each folder.
OWN = {
    path.parent.name: str(path.relative_to(CONFIGS))
    for path in sorted(CONFIGS.glob('[a-z]*/*.py'))
    if not any('::' in base for base in all_bases_of(path))
}


@pytest.mark.parametrize('name', OWN.values(), ids=str)
def test_a_name_means_the_same_as_the_path(name, tmp_path):
    """No scope is written into it: RetinaNet is that of ``default_scope`` and none of mmkd."""
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = ['mmkd::{name}']\nload_from = 'x.pth'\n")
    expected = Config.fromfile(CONFIGS / name)
    expected.load_from = 'x.pth'
    assert Config.fromfile(path).to_dict() == expected.to_dict()


def test_scopes_of_other_packages_stay(tmp_path):
    pytest.importorskip('mmdet')
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'mmkd::pskd/retinanet_r101_r50_coco.py'\n")
    cfg = Config.fromfile(path)
    assert cfg.model._scope_ == 'mmdet'
    assert cfg.to_dict() == Config.fromfile(CONFIGS / 'pskd/retinanet_r101_r50_coco.py').to_dict()


def test_two_of_ours(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = ['mmkd::_base_/models/retinanet_r18.py', 'mmkd::_base_/datasets/bccd.py']\n"
    )
    assert Config.fromfile(path).model.type == 'RetinaNet'


def test_a_name_that_does_not_exist(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'mmkd::pskd/retinanet_r101_r50_coc.py'\n")
    with pytest.raises(FileNotFoundError, match=r'nearest are: pskd/retinanet_r101_r50_coco\.py'):
        Config.fromfile(path)


def test_payload():
    assert (CONFIGS / 'pskd').samefile(f'{mmkd.payload("configs")}/pskd')
    assert (ROOT / 'tools' / 'train.py').samefile(f'{mmkd.payload("tools")}/train.py')


def test_module(capsys, monkeypatch):
    """``python -m mmkd TOOL`` is the tool; anything else is told what there is."""
    for arguments, code in (([], 0), (['trian'], 2), (['train', '--help'], 0)):
        monkeypatch.setattr(sys, 'argv', ['mmkd', *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module('mmkd', run_name='__main__')
        assert ended.value.code == code
        text = capsys.readouterr().out
        if 'train' in arguments:
            assert text.startswith('usage: ') and '--work-dir' in text
        else:
            assert all(f'  {tool} ' in text for tool in ('test_teacher', 'train', 'list_taps'))
