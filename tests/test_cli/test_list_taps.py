"""The tables of list_taps."""

from __future__ import annotations

import io

import pytest
from mmengine.config import Config
from rich.console import Console

from mmkd.cli.list_taps import list_taps
from mmkd.utils import ConfigError


@pytest.mark.slow
def test_list_taps(workspace):
    printed = workspace.run(
        'tools/list_taps.py',
        workspace.config('det'),
        '--filter',
        'neck$|retina_cls|conv2',
        '--depth',
        '2',
        '--cfg-options',
        'model.distill.teacher.checkpoint=nowhere.pth',
    )
    assert 'student: RetinaNet, images of 128×128' in printed
    assert 'teacher: RetinaNet' in printed
    assert '2×32×16×16 2×32×8×8 2×32×4×4 2×32×2×2 2×32×1×1' in printed
    rows = [line for line in printed.splitlines() if 'bbox_head.retina_cls' in line]
    assert [row.split('│')[3].strip() for row in rows] == ['5', '5']  # once per level
    assert 'conv2' not in printed  # deeper than 2


def test_list_taps_of_a_plain_config(workspace):
    console = Console(file=io.StringIO(), width=200)
    plain = Config.fromfile(workspace.config('students/resnet_r18-w8_shapes-cls.py'))
    list_taps(plain, console=console)
    assert 'head.fc' in console.file.getvalue()
    with pytest.raises(ConfigError, match='no regular expression'):
        list_taps(Config.fromfile(workspace.config('cls')), pattern='(')
