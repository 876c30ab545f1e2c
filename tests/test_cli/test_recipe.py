"""Stages: in order, with the checkpoints of those before, once each; the same in a study."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from support.helpers import CONFIGS, ROOT

from mmkd.cli.stages import read_stages, run_stages
from mmkd.utils import ConfigError

RECIPES = sorted(CONFIGS.glob('*/*.yml'))
RECIPES = [p for p in RECIPES if p.name != 'metafile.yml' and p.parent.name != 'studies']
SHORT = {
    'train_cfg.max_epochs': 1,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
}


class Trainer:
    """Writes a file in place of a training."""

    def __init__(self):
        self.seen = []

    def __call__(self, config, options, work_dir):
        self.seen.append((config, options, work_dir))
        work_dir.mkdir(parents=True, exist_ok=True)
        (work_dir / 'epoch_1.pth').write_text(f'{config} {options}')
        return work_dir / 'epoch_1.pth'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


TWO = [
    dict(name='big', config='configs/teachers/a.py', options={'x': 1}),
    dict(name='small', config='configs/kd/b.py', options={'load_from': '$big', 'y': [1, 2]}),
]


def test_the_checkpoint_is_passed_on(here):
    train = Trainer()
    made = run_stages(read_stages(TWO), train)
    big = 'work_dirs/teachers/a/big.pth'
    assert made == dict(big=big, small='work_dirs/kd/b/small.pth')
    assert train.seen == [
        ('configs/teachers/a.py', {'x': 1}, Path('work_dirs/teachers/a')),
        ('configs/kd/b.py', {'load_from': big, 'y': [1, 2]}, Path('work_dirs/kd/b')),
    ]
    assert Path(big).read_text() == "configs/teachers/a.py {'x': 1}"


def test_what_is_done_is_not_done_again(here):
    run_stages(read_stages(TWO), Trainer())
    train = Trainer()
    run_stages(read_stages(TWO), train)
    assert not train.seen
    Path('work_dirs/kd/b/small.pth').unlink()
    run_stages(read_stages(TWO), train)
    assert [config for config, *_ in train.seen] == ['configs/kd/b.py']


def test_a_checkpoint_from_elsewhere_counts(here):
    """Such as a downloaded teacher."""
    Path('big.pth').write_text('downloaded')
    train = Trainer()
    run_stages(read_stages([{**TWO[0], 'checkpoint': 'big.pth'}, TWO[1]]), train)
    assert [options for _, options, _ in train.seen] == [{'load_from': 'big.pth', 'y': [1, 2]}]


def test_a_stage_that_was_done_otherwise_is_no_silent_match(here):
    run_stages(read_stages(TWO), Trainer())
    changed = [{**TWO[0], 'options': {'x': 2}}, TWO[1]]
    with pytest.raises(
        ConfigError, match=r'options: .*big\.json belongs to a run with different options'
    ):
        run_stages(read_stages(changed), Trainer())


def test_an_interrupted_stage_leaves_no_checkpoint(here):
    def fail(config, options, work_dir):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(read_stages(TWO), fail)
    assert not list(here.rglob('*.pth'))


@pytest.mark.parametrize(
    ('stages', 'message'),
    [
        ([dict(name='a')], r'stages\.0\.config'),
        ([dict(config='a.py', option={})], r'stages\.0\.option: .*options'),
        (['x/a.py', 'y/a.py'], r"stages\.1\.name: 'a' is listed twice"),
        (
            [dict(config='a.py', options={'load_from': '$b'})],
            r'a\.options\.load_from: .*no earlier',
        ),
    ],
)
def test_mistakes(stages, message, here):
    with pytest.raises(ConfigError, match=message):
        run_stages(read_stages(stages), Trainer())


@pytest.mark.parametrize('path', RECIPES, ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_every_recipe_fits_its_configs(path, here):
    """The configs exist, the options change what is there, and names are earlier stages'."""
    train = Trainer()
    run_stages(read_stages(Config.fromfile(path).stages), train)
    for config, options, _ in train.seen:
        check_options(ROOT / config, options)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('studies/*.yml')), ids=lambda p: p.stem)
def test_every_study_names_stages_that_it_has(path, here):
    study = Config.fromfile(path).to_dict()
    teacher = [dict(name='teacher', config=study['teacher'])] if study.get('teacher') else []
    train = Trainer()
    made = run_stages(read_stages([*teacher, *study.get('stages', [])]), train)
    shared = study.get('options', {})
    for row in study['rows']:
        own = [dict(name='row', config=row['config'], options=row.get('options', {}))]
        stages = [dict(stage) for stage in row.get('stages', [])]
        run_stages(read_stages([*stages, *own], here / row['name']), train, made)
    for config, options, folder in train.seen:
        check_options(ROOT / config, {**(shared if here in folder.parents else {}), **options})


# Configs of many rows are the same, and reading those of other packages takes a second.
read = lru_cache(Config.fromfile)


def check_options(config, options):
    cfg = read(config)
    for name, value in options.items():
        assert '$' not in str(value)
        node = cfg
        *parents, last = name.split('.')
        for part in parents:
            node = node[int(part) if isinstance(node, list) else part]
        # What a class takes need not stand in the config; whole sections do.
        known = last in node or 'type' in node or 'config' in node
        assert known or name == 'model.distill.methods', f'{config}: {name}'


@pytest.mark.slow
def test_a_recipe_as_a_user_runs_it(workspace):
    """Fine-tune the generated data's teacher, then teach with it; the second call does nothing."""
    (workspace.folder / 'tune.py').write_text(
        f'_base_ = {str(CONFIGS / "teachers/resnet_r18-w32_shapes-cls.py")!r}\n'
        "custom_imports = dict(imports=['mmkd'])\n"
        "model = dict(type='mmkd.Distilled', student=_base_.model.type, distill=dict(methods=dict("
        "mcmi=dict(type='mmkd.MCMI', student='head.fc'))))\n"
        "default_hooks = dict(distill=dict(type='mmkd.DistillHook'))\n"
        "custom_hooks = [dict(type='mmkd.MetricWatchHook', action='warn')]\n"
    )
    teacher = 'work_dirs/teachers/resnet_r18-w32_shapes-cls/teacher.pth'
    recipe = [
        dict(name='plain', config='absent.py', checkpoint=teacher),
        dict(name='tuned', config='tune.py', options={**SHORT, 'load_from': '$plain'}),
        dict(
            name='student',
            config=workspace.config('cls'),
            work_dir='taught',
            options={**SHORT, 'model.distill.teacher.checkpoint': '$tuned'},
        ),
    ]
    (workspace.folder / 'recipe.yml').write_text(yaml.safe_dump(dict(stages=recipe)))
    printed = workspace.run('tools/recipe.py', 'recipe.yml', '--until', 'tuned')
    assert 'tune.py --work-dir' in printed and 'taught' not in printed
    assert f'load_from={teacher}' in printed and 'centroids of 5 of 5 classes' in printed
    printed = workspace.run('tools/recipe.py', 'recipe.yml')
    assert 'tune.py --work-dir' not in printed
    assert 'student: taught/student.pth' in printed
    log = next((workspace.folder / 'taught').glob('*/*.log')).read_text()
    assert 'work_dirs' in log and '/tuned.pth' in log
    assert (workspace.folder / 'taught/student.pth').exists()


@pytest.mark.slow
def test_the_command_line(workspace):
    (workspace.folder / 'empty.yml').write_text('rows: []\n')
    assert 'lists no stages' in workspace.run('tools/recipe.py', 'empty.yml', code=2)
    (workspace.folder / 'one.yml').write_text('stages: [{name: a, config: a.py}]\n')
    printed = workspace.run('tools/recipe.py', 'one.yml', code=2)
    assert 'error: recipe: a.py failed' in printed
