"""How names of configs find the package, whichever distribution provides it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

import mmkd
from mmkd.utils import compat

NAME = 'pskd/retinanet_r101_r50_coco.py'


@pytest.mark.parametrize('provider', ['mmsegmentation', 'onedl-mmsegmentation', None])
def test_register_packages(provider, monkeypatch):
    def version(name):
        if name != provider:
            raise PackageNotFoundError
        return '1.2.2'

    monkeypatch.setattr(compat, 'version', version)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'untouched')
    monkeypatch.delitem(MODULE2PACKAGE, 'mmkd')
    compat.register_packages()
    assert MODULE2PACKAGE['mmkd'] == 'mmkd'
    assert MODULE2PACKAGE['mmseg'] == (provider or 'untouched')
    if provider is None:
        with pytest.raises(ImportError, match=r'^the teacher needs mmseg: pip install onedl-mm'):
            compat.require('mmseg', 'the teacher')
    else:
        compat.require('mmseg', 'the teacher')


def test_resolve_own_configs(tmp_path, monkeypatch):
    """An inherited ``mmkd::`` config has no scope; those of other packages keep theirs."""
    asked = []

    def find(name):
        asked.append(name)
        return 'found.py'

    monkeypatch.setattr(
        Config, '_get_cfg_path', staticmethod(lambda path, filename: (path, 'scope'))
    )
    compat.resolve_own_configs(find)
    assert Config._get_cfg_path('mmkd::a/b.py', 'x.py') == ('found.py', None)
    assert Config._get_cfg_path('mmdet::a/b.py', 'x.py') == ('mmdet::a/b.py', 'scope')
    assert asked == ['a/b.py']


def test_inherited_own_config(tmp_path):
    (tmp_path / 'a.py').write_text(f"_base_ = 'mmkd::{NAME}'\n")
    cfg = Config.fromfile(tmp_path / 'a.py')
    assert cfg.model.to_dict() == Config.fromfile(mmkd.config(NAME)).model.to_dict()
    assert cfg.model._scope_ == 'mmdet'  # of its own base, not mmkd


def test_config():
    assert Path(mmkd.config(NAME)).is_file()
    with pytest.raises(FileNotFoundError, match=r"no config 'pskd/retinanet_r101_r50_coc.py'; the"):
        mmkd.config('pskd/retinanet_r101_r50_coc.py')
