"""The tables of list_taps."""

from __future__ import annotations

import io

import pytest
from mmengine.config import Config
from rich.console import Console
from support.tiny_models import make_student

from mmkd.cli.list_taps import CONTAINER, list_taps, run_modules
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


@pytest.mark.parametrize(
    ('task', 'path', 'inside'),
    [
        ('det', 'bbox_head', 'bbox_head.retina_cls'),
        ('seg', 'decode_head', 'decode_head.conv_seg'),
        ('cls', 'head', 'head.fc'),
    ],
)
def test_heads_are_listed_at_every_depth(task, path, inside):
    """mmdet and mmseg call methods of their heads: a tap of the head itself would never run."""
    size, rows = run_modules(make_student(task), (64, 64))
    found = {name: (calls, shapes) for name, _, calls, shapes in rows}
    assert size == (64, 64) and found[inside][0] > 0
    assert (found[path] == (0, CONTAINER)) == (task != 'cls')
    assert found['neck' if task == 'det' else 'backbone'][0] == 1


def test_containers_in_the_table(workspace):
    console = Console(file=io.StringIO(), width=200)
    list_taps(Config.fromfile(workspace.config('det')).copy(), depth=1, console=console)
    rows = [line for line in console.file.getvalue().splitlines() if 'bbox_head' in line]
    assert len(rows) == 2 and all(CONTAINER in row for row in rows)  # student and teacher
