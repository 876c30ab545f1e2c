"""The study runner: rows, seeds, what is done is skipped, the table is right."""

from __future__ import annotations

import json

import pytest
import yaml
from support.helpers import ROOT

SHORT = {
    'train_cfg.max_epochs': 1,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
}


@pytest.mark.slow
def test_a_study(workspace, runs_here):
    config = workspace.config('cls')
    teacher = ROOT / 'configs/teachers/resnet_r18-w32_shapes-cls.py'
    # The teacher counts as trained: its weights and its result are there.
    known = workspace.folder / 'work_dirs/teachers' / teacher.stem / 'study/result.json'
    weights = known.parents[1] / 'teacher.pth'
    known.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps(dict(val={'accuracy/top1': 90.0}, test={'accuracy/top1': 80.0})))
    study = dict(
        teacher=str(teacher),
        metric='accuracy/top1',
        scale=1,
        rows=[
            dict(name='plain', config=config, options={**SHORT, 'model.distill': None}),
            dict(
                name='distilled',
                config=config,
                stages=[
                    dict(name='first', config=config, options={**SHORT, 'model.distill': None})
                ],
                options={
                    **SHORT,
                    'load_from': '$first',
                    'model.distill.teacher.checkpoint': '$big',
                },
            ),
        ],
        stages=[dict(name='big', config='absent.py', checkpoint=str(weights))],
    )
    (workspace.folder / 'tiny.yml').write_text(yaml.safe_dump(study))
    command = ('tools/study.py', 'tiny.yml', '--seeds', 3, 4, '--test', '--json', 'tiny.json')
    printed = workspace.run(*command)
    results = json.loads((workspace.folder / 'tiny.json').read_text())
    assert set(results) == {'teacher', 'plain', 'distilled'}
    assert [len(runs) for runs in results.values()] == [1, 2, 2]
    values = [run['test']['accuracy/top1'] for run in results['plain']]
    assert f'{sum(values) / 2:.2f} ±' in printed
    assert '| teacher | 90.00 | 80.00 |  |  | 1 | – |' in printed
    peaks = sorted(run['peak_rss_mib'] for run in results['plain'])
    assert f'| 2 | {sum(peaks) / 2:.0f} |' in printed
    assert all(run['peak_rss_mib'] > 0 and run['seconds'] > 0 for run in results['plain'])
    for run, seed in zip(results['distilled'], (3, 4)):
        assert run['gradient_to_task']['1']['distillation, all'] > 0
        first = f'work_dirs/studies/tiny/distilled/seed{seed}/first/first.pth'
        assert run['options']['load_from'] == first and (workspace.folder / first).exists()
        assert run['options']['model.distill.teacher.checkpoint'].endswith('/teacher.pth')
    files = sorted(workspace.folder.glob('work_dirs/studies/tiny/*/*/result.json'))
    written = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 4
    workspace.run(*command)
    assert [file.stat().st_mtime_ns for file in files] == written


def test_an_unknown_row(workspace):
    study = dict(teacher='x.py', metric='m', rows=[dict(name='a', config='a.py')])
    (workspace.folder / 'unknown.yml').write_text(yaml.safe_dump(study))
    printed = workspace.run('tools/study.py', 'unknown.yml', '--rows', 'b', code=2)
    assert "error: --rows: no rows ['b']; there are ['a']" in printed
