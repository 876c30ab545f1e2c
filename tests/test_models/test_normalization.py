"""Teachers with another normalization see what their own preprocessor would have made."""

from __future__ import annotations

import pytest
import torch
from support.helpers import build, make_batch
from support.tiny_models import (
    SCOPES,
    TASKS,
    make_student,
    model_config,
    preprocessed,
    teacher_config,
)

from mmkd.models.normalization import Renormalizer

OTHER = dict(
    values=dict(mean=[103.53, 100.0, 90.0], std=[57.0, 50.0, 1.0]),
    order=dict(flip=True),
    both=dict(mean=[10.0, 20.0, 30.0], std=[2.0, 3.0, 4.0], flip=True),
    padding=dict(mean=[103.53, 100.0, 90.0], std=[57.0, 50.0, 1.0], pad=7),
    none=dict(none=True),
)


def preprocessor_config(task, mean=None, std=None, flip=False, pad=None, none=False):
    """Return the config of a preprocessor that differs from the tiny models' one."""
    config = dict(model_config(task)['data_preprocessor'])
    if mean:
        config.update(mean=mean, std=std)
    order = 'to_rgb' if task == 'cls' else 'bgr_to_rgb'
    if flip:
        config[order] = False
    if pad is not None:
        config['pad_val' if task == 'seg' else 'pad_value'] = pad
    if none:
        config.update(mean=None, std=None, **{order: False})
    return config


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('kind', OTHER)
@pytest.mark.parametrize('reverse', [False, True])
def test_equals_the_teachers_own_preprocessor(task, kind, reverse):
    """Raw images of two sizes, so that there is padding."""
    configs = [preprocessor_config(task), preprocessor_config(task, **OTHER[kind])]
    student, teacher = (
        build(config, SCOPES[task]) for config in (configs[::-1] if reverse else configs)
    )
    sizes = [(64, 40), (50, 64)]
    data = make_batch(task, 2, sizes)
    if task == 'cls':  # its pipelines yield images of one size; a divisor pads them
        for module in (student, teacher):
            module.pad_size_divisor = 32
        data = make_batch(task, 2, (50, 40))
        sizes = [(50, 40)] * 2
    seen = student(data, True)
    fresh = make_batch(task, 2, sizes)
    expected = teacher(fresh, True)['inputs']
    renormalizer = Renormalizer.between(student, teacher)
    assert renormalizer is not None
    given = seen['inputs'].clone()
    got = renormalizer(seen['inputs'], seen['data_samples'])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(seen['inputs'], given)  # the student's own batch is not changed


@pytest.mark.parametrize('task', TASKS)
def test_nothing_to_do_for_equal_preprocessors(task):
    same = [build(preprocessor_config(task), SCOPES[task]) for _ in range(2)]
    assert Renormalizer.between(*same) is None


@pytest.mark.parametrize('task', TASKS)
def test_padding_alone_can_differ(task):
    student = build(preprocessor_config(task), SCOPES[task])
    teacher = build(preprocessor_config(task, pad=5), SCOPES[task])
    renormalizer = Renormalizer.between(student, teacher)
    sizes = (50, 40) if task == 'cls' else [(64, 40), (50, 64)]
    for module in (student, teacher):
        module.pad_size_divisor = 32
    seen = student(make_batch(task, 2, sizes), True)
    expected = teacher(make_batch(task, 2, sizes), True)['inputs']
    torch.testing.assert_close(renormalizer(seen['inputs'], seen['data_samples']), expected)


def test_the_teacher_gets_the_renormalised_batch(tmp_path):
    """In a distiller: the teacher's feature equals that of its own preprocessor and model."""
    other = preprocessor_config('det', **OTHER['both'])
    teacher = teacher_config('det', tmp_path, data_preprocessor=other)
    model = make_student(
        'det',
        teacher=teacher,
        methods=dict(
            feature=dict(type='mmkd.FeatureMimic', student='neck', teacher='neck', levels=(0,))
        ),
    )
    sizes = [(64, 40), (50, 64)]
    inputs, samples = preprocessed(model, 'det', 2, sizes)
    handle = model.distiller.teachers['']
    (read,) = handle(inputs, samples).values()
    own = handle.model.data_preprocessor(make_batch('det', 2, sizes, num_classes=5), True)
    expected = handle.model.extract_feat(own['inputs'])[0]
    torch.testing.assert_close(read[0], expected, rtol=1e-3, atol=1e-3)
