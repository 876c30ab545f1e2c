"""tools/export_student.py, tools/train.py and tools/test.py on one trained classifier."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config

from mmkd.cli.export_student import export_student
from mmkd.utils import ConfigError, plain_config

pytestmark = pytest.mark.slow  # they share a training run

LOAD = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
import torch
cfg = Config.fromfile(sys.argv[1])
init_default_scope(cfg.default_scope)
if cfg.get('data_preprocessor'):
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
import mmpretrain
mmpretrain.utils.register_all_modules()
model = MODELS.build(cfg.model)
model.load_state_dict(torch.load(sys.argv[2])['state_dict'], strict=True)
assert not [name for name in sys.modules if name.split('.')[0] == 'mmkd'], 'mmkd was imported'
"""


def latest(folder):
    return folder / 'epoch_2.pth'


def test_exported_student_loads_without_mmkd(workspace, trained):
    printed = workspace.run('tools/export_student.py', latest(trained), 'published/student.pth')
    weights, config = (workspace.folder / line for line in printed.split()[-2:])
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.name == f'student-{digest[:8]}.pth'
    assert 'mmkd' not in config.read_text()
    content = torch.load(weights)
    assert set(content) == {'meta', 'state_dict'}
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOAD, config, weights],
        check=True,
        cwd=workspace.folder,
    )


def test_averaged_and_raw_weights(trained, tmp_path):
    checkpoint = torch.load(latest(trained), weights_only=False)
    averaged, _ = export_student(latest(trained), tmp_path / 'a.pth', hashed=False)
    raw, _ = export_student(latest(trained), tmp_path / 'b.pth', ema=False, hashed=False)
    averaged, raw = (torch.load(path)['state_dict'] for path in (averaged, raw))
    name = 'head.fc.weight'
    assert torch.equal(averaged[name], checkpoint['state_dict'][name])
    assert torch.equal(raw[name], checkpoint['ema_state_dict'][f'module.{name}'])
    assert not torch.equal(averaged[name], raw[name])


def test_errors_are_one_line(workspace, trained, tmp_path):
    printed = workspace.run('tools/export_student.py', 'nothing.pth', 'x.pth', code=2)
    assert "error: checkpoint: 'nothing.pth' does not exist" in printed
    assert 'Traceback' not in printed
    without = torch.load(latest(trained), weights_only=False)
    del without['ema_state_dict']
    torch.save(without, tmp_path / 'plain.pth')
    with pytest.raises(ConfigError, match='no EMA weights'):
        export_student(tmp_path / 'plain.pth', tmp_path / 'x.pth', ema=True)
    with pytest.raises(ConfigError, match='does not fit the student'):
        export_student(latest(trained), tmp_path / 'x.pth', workspace.config('seg'))
    (tmp_path / 'broken.pth').write_bytes(b'nothing')
    with pytest.raises(ConfigError, match='cannot read'):
        export_student(tmp_path / 'broken.pth', tmp_path / 'x.pth')
    assert not list(tmp_path.glob('*x*'))


def test_plain_config_keeps_everything_else(workspace):
    cfg = Config.fromfile(workspace.config('det'))
    cfg.custom_imports = dict(imports=['mmkd', 'my.module'])
    plain = plain_config(cfg)
    assert plain.model.type == 'RetinaNet'
    assert 'distill' not in plain.model
    assert 'student' not in plain.model
    assert 'distill' not in plain.default_hooks
    assert plain.custom_imports['imports'] == ['my.module']
    assert plain.model.backbone == cfg.model.backbone
    assert plain.train_dataloader == cfg.train_dataloader
    assert cfg.model.type == 'mmkd.Distilled'


def test_plain_config_leaves_out_what_needs_mmkd():
    accuracy = dict(type='Accuracy', topk=(1,))
    data = dict(type='ConcatDataset', datasets=[])
    cfg = Config(
        dict(
            model=dict(type='mmkd.Distilled', student='ImageClassifier', distill=dict()),
            custom_imports=dict(imports=['mmkd'], allow_failed_imports=False),
            train_dataloader=dict(
                batch_size=8,
                sampler=dict(type='DefaultSampler'),
                batch_sampler=dict(type='mmkd.PreviousBatchSampler'),
                dataset=dict(type='mmkd.IndexedDataset', dataset=data),
            ),
            val_evaluator=[accuracy, dict(type='mmkd.Calibration')],
            test_evaluator=[dict(type='mmkd.Calibration')],  # nothing would be left
        )
    )
    plain = plain_config(cfg).to_dict()
    loader = dict(batch_size=4, sampler=dict(type='DefaultSampler'), dataset=data)
    assert plain['train_dataloader'] == loader
    assert plain['val_evaluator'] == [accuracy]
    assert plain['test_evaluator'] == [dict(type='mmkd.Calibration')]
    assert 'custom_imports' not in plain


def test_testing_needs_no_teacher(workspace, trained):
    printed = workspace.run(
        'tools/test.py',
        workspace.config('cls'),
        latest(trained),
        '--work-dir',
        'tested',
        '--out',
        'tested/predictions.pkl',
        '--show-dir',
        'tested/pictures',
        '--cfg-options',
        'model.distill.teacher.checkpoint=nowhere.pth',
    )
    assert 'accuracy/top1' in printed
    assert (workspace.folder / 'tested/predictions.pkl').is_file()
    assert list((workspace.folder / 'tested/pictures').glob('*.png'))


def test_testing_refuses_another_models_weights(workspace, trained):
    printed = workspace.run(
        'tools/test.py', workspace.config('seg'), latest(trained), '--work-dir', 'tested', code=2
    )
    assert 'does not fit EncoderDecoder' in printed
    assert 'Traceback' not in printed
