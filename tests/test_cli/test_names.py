"""The command ``mmkd``, and configs by name wherever a tool takes one."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from support.helpers import CONFIGS, ROOT

from mmkd import __main__ as command
from mmkd import cli
from mmkd.cli import browse_batch, common, list_taps, quickstart, recipe, study, test_teacher
from mmkd.cli.benchmark_step import find_runs
from mmkd.cli.common import config_path, load_config
from mmkd.cli.stages import read_stages
from mmkd.utils import ConfigError

STUDENT = 'mmkd::students/resnet_r18-w8_shapes-cls.py'
DISTILLED = 'mmkd::pskd/resnet_r18-w32_r18-w8_shapes-cls.py'
UPSTREAM = dict(
    mmdet='retinanet/retinanet_r50_fpn_1x_coco.py',
    mmseg='pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    mmpretrain='resnet/resnet18_8xb32_in1k.py',
)


@pytest.fixture(autouse=True)
def _process(monkeypatch):
    """Undo what a tool sets for its process."""
    monkeypatch.setattr(common, 'restrict', lambda: None)
    monkeypatch.setenv('LOCAL_RANK', '0')


def call(tool, monkeypatch, *arguments):
    """Run a tool in this process."""
    monkeypatch.setattr(sys, 'argv', [tool.__name__, *map(str, arguments)])
    tool.main()


def test_every_tool_has_a_module_and_a_script():
    assert {path.stem for path in (ROOT / 'tools').glob('*.py')} == set(cli.TOOLS)
    for tool in cli.TOOLS:
        assert len((ROOT / f'tools/{tool}.py').read_text().splitlines()) == 6


def test_the_command_lists_the_tools(monkeypatch, capsys):
    for argument, code in (('', 0), ('--help', 0), ('trian', 2)):
        monkeypatch.setattr(sys, 'argv', ['mmkd', argument] if argument else ['mmkd'])
        with pytest.raises(SystemExit) as ended:
            command.main()
        printed = capsys.readouterr().out
        assert ended.value.code == code
        assert all(f'  {tool} ' in printed for tool in cli.TOOLS)
        assert 'Test the teacher of a distillation config' in printed and '/tools' in printed


def test_the_command_runs_a_tool(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmkd', 'export_student', 'nothing.pth', 'x.pth'])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: checkpoint: 'nothing.pth' does not exist\n"
    monkeypatch.setattr(sys, 'argv', ['mmkd', 'train', '--help'])
    with pytest.raises(SystemExit):
        command.main()
    assert capsys.readouterr().out.startswith('usage: mmkd train ')


def test_the_command_finds_modules_of_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, 'argv', ['mmkd', 'train', 'config.py'])
    monkeypatch.setattr(cli, 'run', lambda tool: sys.path[0])
    command.main()
    assert sys.path[0] == '' and sys.path.count('') == 1


def test_paths_and_names():
    assert config_path('my_config.py') == 'my_config.py'
    assert Path(config_path(STUDENT)).samefile(CONFIGS / 'students/resnet_r18-w8_shapes-cls.py')
    for package, name in UPSTREAM.items():
        path = config_path(f'{package}::{name}')
        assert path.endswith(name) and Config.fromfile(path).model.type


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('mmkd::kd/retinanet-mimik_r18_r18-w16_bccd.py', 'retinanet-mimic_r18_r18-w16_bccd'),
        ('mmdet::retinanet/retinanet_r51_fpn_1x_coco.py', 'retinanet_r50_fpn_1x_coco'),
        ('mmdot::retinanet/retinanet_r50_fpn_1x_coco.py', "no package 'mmdot'"),
        ('nothing.py', "cannot read 'nothing.py'"),
    ],
)
def test_unknown_names(name, message):
    args = Namespace(config=name, local_rank=0, cfg_options=None)
    with pytest.raises(ConfigError, match=f'^config: .*{message}'):
        load_config(args)


def test_the_name_is_no_folder():
    """The work directory of a run is that of the config's file."""
    for name in (STUDENT, 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'):
        args = Namespace(config=name, local_rank=0, cfg_options=None, launcher='none')
        assert load_config(args).work_dir == f'work_dirs/{Path(name).stem}'


def test_a_stage_of_a_recipe(monkeypatch, tmp_path, capsys):
    (stage,) = read_stages([STUDENT])
    assert stage.name == 'resnet_r18-w8_shapes-cls'
    assert str(stage.work_dir) == 'work_dirs/students/resnet_r18-w8_shapes-cls'
    assert Path(stage.config).is_file()
    with pytest.raises(ConfigError, match=r'stages\.0\.config: mmkd has no config'):
        read_stages(['mmkd::students/absent.py'])
    monkeypatch.chdir(tmp_path)
    Path('one.yml').write_text(yaml.safe_dump(dict(stages=[dict(name='a', config=STUDENT)])))
    commands = []

    def fake(command, **_):
        commands.append(command)
        folder = Path(command[command.index('--work-dir') + 1])
        folder.mkdir(parents=True)
        (folder / 'epoch_1.pth').touch()
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', fake)
    for _ in range(2):
        call(recipe, monkeypatch, 'one.yml')
    ((*_, tool, config, _, folder),) = commands
    assert tool == 'train' and Path(config).is_file() and '::' not in folder
    assert capsys.readouterr().out.count(f'a: {folder}/a.pth') == 2


def test_a_row_of_a_study(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    content = dict(
        teacher='mmkd::teachers/resnet_r18-w32_shapes-cls.py',
        metric='m',
        rows=[dict(name='a', config=STUDENT, options={'x': 1})],
    )
    Path('one.yml').write_text(yaml.safe_dump(content))
    tasks = []

    def fake(task, work_dir, *_):
        tasks.append((task, work_dir))
        work_dir.mkdir(parents=True, exist_ok=True)
        (work_dir / 'epoch_1.pth').touch()
        return dict(checkpoint=work_dir / 'epoch_1.pth')

    monkeypatch.setattr(study, 'run_once', fake)
    call(study, monkeypatch, 'one.yml', '--seeds', 5)
    (teacher, folder), (row, own) = tasks
    assert str(folder) == 'work_dirs/teachers/resnet_r18-w32_shapes-cls/study'
    assert str(own) == 'work_dirs/studies/one/a/seed5'
    assert row['options'] == {'x': 1, 'randomness.seed': 5}
    assert all(Path(task['config']).is_file() for task in (teacher, row))
    content['rows'][0]['config'] = 'mmkd::students/absent.py'
    Path('one.yml').write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r'rows\.a\.config: mmkd has no config'):
        call(study, monkeypatch, 'one.yml')


def test_the_rows_of_a_shipped_study_are_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runs = list(find_runs(['mmkd::studies/bccd.yml']))
    assert runs and all(Path(run.config).is_file() for run in runs)
    Path('configs/students').mkdir(parents=True)
    name = 'configs/students/resnet_r18-w8_shapes-cls.py'
    assert Path(config_path(name)).is_absolute()
    Path(name).touch()
    assert config_path(name) == name, 'what exists comes first'


def test_a_study_by_name(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    call(study, monkeypatch, 'mmkd::studies/bccd.yml', '--table')
    assert Path('work_dirs/studies/bccd/table.md').read_text() == capsys.readouterr().out


@pytest.mark.parametrize('name', [STUDENT, DISTILLED])
def test_list_taps(name, monkeypatch, capsys):
    call(list_taps, monkeypatch, name, '--filter', 'head.fc$', '--size', 32, 32)
    assert capsys.readouterr().out.count('head.fc') == (2 if name == DISTILLED else 1)


def test_browse_batch(workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workspace.folder)
    options = ('--out', tmp_path, '--batches', 1, '--images', 2)
    call(browse_batch, monkeypatch, DISTILLED, *options)
    assert capsys.readouterr().out.split()[-1] == str(tmp_path / 'batch_0.png')


def test_benchmark_step(tmp_path):
    rows = [dict(name='plain', config=STUDENT), dict(name='own', config=DISTILLED)]
    (tmp_path / 'one.yml').write_text(yaml.safe_dump(dict(rows=rows)))
    found = list(find_runs([DISTILLED, str(tmp_path / 'one.yml')]))
    assert [run.name for run in found] == ['pskd/resnet_r18-w32_r18-w8_shapes-cls', 'own']
    assert all(Path(run.config).is_file() for run in found)


def test_quickstart_and_teacher():
    assert quickstart.distillation_config(DISTILLED, 'cls') == (config_path(DISTILLED), {})
    teacher = test_teacher.teacher_run_config(Config.fromfile(config_path(DISTILLED)))
    assert teacher.model.type == 'mmkd.TeacherAlone'


@pytest.mark.slow
def test_train(workspace):
    """From another folder, and into one that has the name of the file."""
    options = ('train_cfg.max_epochs=1', 'train_dataloader.batch_size=8')
    workspace.run('tools/train.py', STUDENT, '--cfg-options', *options)
    folder = workspace.folder / 'work_dirs/resnet_r18-w8_shapes-cls'
    assert (folder / 'epoch_1.pth').is_file()
    assert not list(workspace.folder.glob('work_dirs/*::*'))
