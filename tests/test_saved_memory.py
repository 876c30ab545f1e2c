"""What a distillation step keeps for its backward pass, in bytes."""

from __future__ import annotations

import pytest
from support.tiny_models import make_student, preprocessed, teacher_config

from mmkd.cli.timing import saved_bytes

NECK = dict(student='neck', teacher='neck')
BACKBONE = dict(student='backbone', teacher='backbone', levels=(2, 3))
# Methods without adapters, at equal channels.
CASES = {
    'mimic': ('det', dict(type='mmkd.FeatureMimic', **NECK)),
    'standardised mimic': ('det', dict(type='mmkd.FeatureMimic', normalize='channel', **NECK)),
    'PKD': ('det', dict(type='mmkd.PKD', **NECK)),
    'CWD': ('det', dict(type='mmkd.CWD', **NECK)),
    'AT': ('det', dict(type='mmkd.AT', **NECK)),
    'fixed masks': ('det', dict(type='mmkd.ACAM', fusion='fixed', **NECK)),
    'mimic seg': ('seg', dict(type='mmkd.FeatureMimic', **BACKBONE)),
    'CWD seg': ('seg', dict(type='mmkd.CWD', **BACKBONE)),
    'IFVD': ('seg', dict(type='mmkd.IFVD', **BACKBONE)),
    'pixel KD': (
        'seg',
        dict(
            type='mmkd.LogitKD',
            student='decode_head.conv_seg',
            teacher='decode_head.conv_seg',
            tau=2.0,
        ),
    ),
}


def kept_by(model, task):
    """Return the bytes that one step keeps."""
    inputs, samples = preprocessed(model, task, size=128)

    def run():
        return model.parse_losses(model(inputs, samples, mode='loss'))[0]

    return saved_bytes(run, (*model.parameters(), *model.buffers(), inputs))[1]


@pytest.mark.parametrize('name', CASES)
def test_no_more_than_the_plain_step_and_the_tapped_maps(name, tmp_path):
    """The teacher's tapped maps, that is; the student's are kept by the plain step."""
    task, method = CASES[name]
    teacher = teacher_config(task, tmp_path, width=8)
    model = make_student(task, width=8, teacher=teacher, methods=dict(m=method))
    assert not any(p.requires_grad for p in model.distiller.parameters())
    plain = kept_by(make_student(task, width=8), task)
    kept = kept_by(model, task)
    tapped = model.distiller.teachers[''].tapped_bytes
    assert tapped > 1_000
    assert plain < kept
    assert kept - plain <= 1.1 * tapped
    assert kept <= 1.1 * (plain + tapped)


def test_fgd_keeps_one_difference_and_its_blocks_inputs(tmp_path):
    """Of four terms: the difference, and the teacher's maps, by which its blocks are trained."""
    method = dict(type='mmkd.FGD', **NECK)
    teacher = teacher_config('det', tmp_path, width=16)
    model = make_student('det', width=16, teacher=teacher, methods=dict(m=method))
    plain = kept_by(make_student('det', width=16), 'det')
    kept = kept_by(model, 'det') - plain
    tapped = model.distiller.teachers[''].tapped_bytes
    assert 2 * tapped <= kept <= 2.4 * tapped
