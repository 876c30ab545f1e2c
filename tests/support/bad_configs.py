"""Configs with one mistake each, and what the error says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.config_mistakes import (
    METHODS,
    MIXER,
    SIMULATION,
    TEACHER,
    another_teacher,
    both,
    broken_config,
    deeper,
    fewer_classes_than_the_student,
    file_of,
    other_classes,
    put,
    truncated,
    two_teachers,
)
from support.tiny_models import MIMIC

# name: (change of a detector's config, key, what the message says)
AT_BUILD: dict[str, tuple[Callable[[dict, Path], None], str, str]] = {
    # Teacher
    'checkpoint missing': (
        put('teacher.checkpoint', 'no/such.pth'),
        f'{TEACHER}.checkpoint',
        r"'no/such\.pth' does not exist",
    ),
    'checkpoint not given': (put('teacher.checkpoint', ...), f'{TEACHER}.checkpoint', 'auto'),
    'checkpoint empty': (put('teacher.checkpoint', ''), f'{TEACHER}.checkpoint', 'trained weights'),
    'auto without metafile': (
        put('teacher.checkpoint', 'auto'),
        f'{TEACHER}.checkpoint',
        'metafile',
    ),
    'checkpoint is text': (file_of(b'<html>not found</html>'), f'{TEACHER}.checkpoint', 'read'),
    'checkpoint is empty': (file_of(b''), f'{TEACHER}.checkpoint', 'cannot read'),
    'checkpoint is half': (truncated, f'{TEACHER}.checkpoint', 'cannot read'),
    'checkpoint without weights': (
        file_of(dict(meta=dict(epoch=3))),
        f'{TEACHER}.checkpoint',
        'no state dict',
    ),
    'checkpoint of another task': (
        another_teacher(task='cls'),
        f'{TEACHER}.checkpoint',
        r'does not fit RetinaNet.*entries are missing \(.*another architecture',
    ),
    'checkpoint of another width': (
        another_teacher(task='det', width=16),
        f'{TEACHER}.checkpoint',
        r'have another shape \(backbone\.conv1\.weight: \(16, 3, 7, 7\) for \(8, 3, 7, 7\)',
    ),
    'checkpoint of a deeper network': (
        deeper,
        f'{TEACHER}.checkpoint',
        r'have no place in it \(backbone\.layer1\.2.*deeper architecture',
    ),
    'checkpoint of other classes': (
        other_classes,
        f'{TEACHER}.checkpoint',
        r'bbox_head\.retina_cls\.weight: \(720, .*class count',
    ),
    'config missing': (
        put('teacher.config', 'no/such.py'),
        f'{TEACHER}.config',
        r"cannot read 'no/such\.py'",
    ),
    'config of a package missing': (
        put('teacher.config', 'mmdet::retinanet/retinanet_r50_fpn_3x_coco.py'),
        f'{TEACHER}.config',
        'mmdet has no config .*retinanet_r50_fpn_2x_coco',
    ),
    'config of mmkd missing': (
        put('teacher.config', 'mmkd::teachers/retinanet_r18_bcd.py'),
        f'{TEACHER}.config',
        r'retinanet_r18_bccd\.py',
    ),
    'config broken': (broken_config, f'{TEACHER}.config', 'cannot read'),
    'config without model': (put('teacher.config', dict(a=1)), f'{TEACHER}.config', 'no `model`'),
    'precision': (put('teacher.precision', 'int8'), f'{TEACHER}.precision', 'fp32.*bf16.*fp16'),
    'teacher argument': (
        put('teacher.checkpoints', 'x.pth'),
        f'{TEACHER}.checkpoints',
        'the nearest are: checkpoint',
    ),
    'teacher is a path': (put('teacher', 'x.py'), TEACHER, r'dict\(config=…, checkpoint=…\)'),
    'teacher without config': (put('teacher.config', ...), TEACHER, r'dict\(config=…'),
    # Taps
    'unknown tap of the student': (
        put('methods.feature.student', 'nekc'),
        f'{METHODS}.feature.student',
        r"DistilledRetinaNet|RetinaNet has no module 'nekc'; the nearest are: neck",
    ),
    'unknown tap of the teacher': (
        put('methods.logits.teacher', 'bbox_head.retina_cl'),
        f'{METHODS}.logits.teacher',
        r'the nearest are: bbox_head\.retina_cls',
    ),
    'container': (
        put('methods.feature.student', 'neck.fpn_convs'),
        f'{METHODS}.feature.student',
        r'container \(ModuleList\).*neck\.fpn_convs\.0',
    ),
    'never called': (
        put('methods.logits.student', 'bbox_head.loss_cls'),
        f'{METHODS}.logits.student',
        'is not called',
    ),
    'never called in the teacher': (
        put('methods.logits.teacher', 'bbox_head.loss_bbox'),
        f'{METHODS}.logits.teacher',
        'is not called.*list_taps',
    ),
    'overwritten in place': (
        put('methods.feature.student', 'backbone.bn1'),
        f'{METHODS}.feature.student',
        'modified in place',
    ),
    'level too high': (
        put('methods.feature.levels', (0, 5)),
        f'{METHODS}.feature.student',
        'level 5 is out of range.*from 0 to 4',
    ),
    'level too low': (
        put('methods.feature.levels', (-6,)),
        f'{METHODS}.feature.student',
        'level -6 is out of range',
    ),
    'level no list': (put('methods.feature.levels', 2), f'{METHODS}.feature', r'\(0, 1, 2\)'),
    'tap misspelt': (
        put('methods.feature.student', dict(module='neck', level=(0,))),
        f'{METHODS}.feature.student',
        'levels=…',
    ),
    'tap missing': (
        put('methods.feature.student', ...),
        f'{METHODS}.feature',
        "missing 1 required positional argument: 'student'",
    ),
    'vector and map': (
        both(
            put('methods.feature.teacher', 'backbone.conv1'),
            put('methods.feature.student', dict(module='backbone.conv1', tokens=False)),
            put('methods.feature.levels', None),
            put('methods.vector', dict(MIMIC['cls'], student='neck', teacher='backbone')),
        ),
        f'{METHODS}.vector.levels',
        'the student yields 5 tensors.*the teacher 4',
    ),
    'other number of maps': (
        put('methods.feature.teacher', dict(module='neck', levels=(0, 1))),
        f'{METHODS}.feature.levels',
        r'the student yields 3 tensors \[\(8, 16, 16\).*the teacher 2',
    ),
    'other number of classes': (
        fewer_classes_than_the_student,
        f'{METHODS}.logits.student',
        '45 class channels and the teacher 36',
    ),
    'taps without teacher': (
        put('teacher', None),
        f'{METHODS}.feature.teacher',
        r'set model\.distill\.teacher',
    ),
    'unknown name of a teacher': (
        both(two_teachers, put('methods.feature.teacher', 'bigg:neck')),
        f'{METHODS}.feature.teacher',
        'names: big',
    ),
    'no name of a teacher': (two_teachers, f'{METHODS}.feature.teacher', '<name>:<module>.*big'),
    'name of the only teacher': (
        put('methods.feature.teacher', 'big:neck'),
        f'{METHODS}.feature.teacher',
        'one teacher without a name',
    ),
    # Methods
    'unknown method': (
        put('methods.feature.type', 'mmkd.FeatureMimick'),
        f'{METHODS}.feature.type',
        r"no method 'mmkd\.FeatureMimick'; the nearest are: mmkd\.FeatureMimic",
    ),
    'method without type': (put('methods.feature.type', ...), f'{METHODS}.feature', '`type`'),
    'method is a name': (put('methods.feature', 'mmkd.LogitKD'), f'{METHODS}.feature', '`type`'),
    'mixer as method': (
        put('methods.feature.type', 'mmkd.PatchMix'),
        f'{METHODS}.feature.type',
        'is not a method',
    ),
    'unknown argument': (
        put('methods.feature.normalise', True),
        f'{METHODS}.feature.normalise',
        'the nearest are: normalize',
    ),
    'unknown argument of the base class': (
        put('methods.logits.warm_up_iters', 5),
        f'{METHODS}.logits.warm_up_iters',
        'warmup_iters',
    ),
    'negative weight': (put('methods.feature.weight', -1), f'{METHODS}.feature.weight', '-1'),
    'nan': (put('methods.feature.weight', float('nan')), f'{METHODS}.feature.weight', 'nan'),
    'weight is text': (
        put('methods.feature.weight', '1e-3'),
        f'{METHODS}.feature.weight',
        "'1e-3'",
    ),
    'schedule': (
        put('methods.feature.weight', dict(value=1.0, warmup=5)),
        f'{METHODS}.feature.weight.warmup',
        'warmup_iters',
    ),
    'tau 0': (put('methods.logits.tau', 0), f'{METHODS}.logits.tau', 'positive'),
    'activation': (
        put('methods.logits.activation', 'relu'),
        f'{METHODS}.logits.activation',
        'sigm',
    ),
    'logit_sim': (
        put('methods.logits.logit_sim', 'mean'),
        f'{METHODS}.logits.logit_sim',
        'mixture',
    ),
    'pooled without classifier': (
        put('methods.logits.logit_sim', 'pooled'),
        f'{METHODS}.logits.logit_sim',
        'needs a classifier',
    ),
    'classes of a dense head': (
        put('methods.logits.num_classes', 7),
        f'{METHODS}.logits.num_classes',
        '45 channels are no multiple of 7',
    ),
    'CrossKD on an unsupported head': (
        put('methods', dict(cross=dict(type='mmkd.CrossKD'))),
        f'{METHODS}.cross.student',
        r"RetinaHead has no 'gfl_cls': CrossKD is for .*'gfl' \(GFLHead\), 'retina'",
    ),
    'LD on an unsupported head': (
        put('methods', dict(ld=dict(type='mmkd.LD'))),
        f'{METHODS}.ld.student',
        r"RetinaHead has no 'reg_max': localization distillation is for .*GFLHead",
    ),
    'CrossKD on no head': (
        put('methods', dict(cross=dict(type='mmkd.CrossKD', head='retina', teacher='box_head'))),
        f'{METHODS}.cross.teacher',
        r"RetinaNet has no head 'box_head'; the nearest are: bbox_head",
    ),
    'PS-KD without parts': (
        put('methods', dict(pskd=SIMULATION)),
        f'{METHODS}.pskd',
        'feature and logits',
    ),
    'argument of a part of PS-KD': (
        put('methods', dict(pskd=dict(SIMULATION, feature=dict(student='neck', teachers='neck')))),
        f'{METHODS}.pskd.feature.teachers',
        'the nearest are: teacher',
    ),
    'type of a part of PS-KD': (
        put('methods', dict(pskd=dict(SIMULATION, logits=dict(type='mmkd.FeatureMimic')))),
        f'{METHODS}.pskd.logits.type',
        'LogitKD',
    ),
    'tap of a part of PS-KD': (
        put('methods', dict(pskd=dict(SIMULATION, feature=dict(student='nec', teacher='neck')))),
        f'{METHODS}.pskd.student.feature',
        'the nearest are: neck',
    ),
    # Mixer
    'unknown mixer': (
        put('mixer.type', 'mmkd.PatchMixer'),
        f'{MIXER}.type',
        r'no mixer .*the nearest are: mmkd\.PatchMix',
    ),
    'method as mixer': (put('mixer.type', 'mmkd.LogitKD'), f'{MIXER}.type', 'is not a mixer'),
    'unknown argument of a mixer': (put('mixer.num_image', 2), f'{MIXER}.num_image', 'num_images'),
    'variant': (put('mixer.variant', 'rows'), f'{MIXER}.variant', "'random', 'permutation'"),
    'prob': (put('mixer.prob', 2), f'{MIXER}.prob', 'between 0 and 1'),
    # The rest
    'unknown key': (
        put('method', {}),
        'model.distill.method',
        'the nearest are: methods',
    ),
    'inherit': (
        put('inherit', ('nek',)),
        'model.distill.inherit',
        "nothing of 'nek' can be copied.*the nearest are: neck",
    ),
    'inherit without teacher': (
        both(put('teacher', None), put('methods', {}), put('inherit', ('neck',))),
        'model.distill.inherit',
        'no teacher',
    ),
}
