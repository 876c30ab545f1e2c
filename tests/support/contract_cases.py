"""The table of the contract test: every method, plug-in and mixer in whole tiny models."""

from __future__ import annotations

from support.contract import (
    BACKBONE,
    BOTTLENECK,
    DROPPING,
    EMBEDDING,
    FC,
    FILE,
    NECK,
    QUEUES,
    SEG_LOGITS,
    STAGES,
    SWAP,
    USKD,
    Case,
)
from support.tiny_models import LOGITS, MIMIC, SCOPES

CASES = [
    Case('ACAM', 'det', NECK, same=('spatial', 'channel'), mixer=dict(type='mmkd.PatchMix')),
    Case('ACAM-reversed', 'det', dict(NECK, fusion='reversed'), same=('spatial', 'channel')),
    Case('ACAM-fixed', 'det', dict(NECK, fusion='fixed'), same=('spatial', 'channel')),
    Case('ACAM-teacher', 'det', dict(NECK, fusion='teacher'), same=('spatial', 'channel')),
    Case('ACAM-detached', 'det', dict(NECK, detach_student_in_mask=True)),
    Case('AT', 'det', NECK, same=('at',)),
    Case('AT-seg', 'seg', BACKBONE, same=('at',)),
    Case('AT-cls', 'cls', BACKBONE, same=('at',)),
    Case('CIRKD', 'seg', dict(BOTTLENECK, **QUEUES), mixer=dict(type='mmkd.PatchMix')),
    Case('CSKD', 'cls', dict(student='head.fc'), teacher=False),
    Case('CWD', 'det', NECK, same=('cwd',)),
    Case('CWD-seg', 'seg', SEG_LOGITS, same=('cwd',)),
    Case('CWD-cls', 'cls', BACKBONE, same=('cwd',)),
    Case('CosPress', 'cls', dict(student=EMBEDDING, teacher=EMBEDDING)),
    *(
        Case(
            f'CrossKD-{family}',
            'det',
            dict(head=family, start=1),
            family=family,
            mixer=dict(type='mmkd.PatchMix'),
        )
        for family in ('retina', 'gfl', 'atss', 'fcos')
    ),
    *(
        Case(f'DAFA-{task}', task, dict(every=1), ('methods', 'm', 'refine'), host=MIMIC[task])
        for task in SCOPES
    ),
    Case('DAM', 'det', dict(channels=8), ('methods', 'm', 'region'), host=MIMIC['det']),
    Case(
        'DAM-refined',
        'det',
        dict(channels=8),
        ('methods', 'm', 'region'),
        host=dict(MIMIC['det'], refine=dict(type='mmkd.DAFA')),
    ),
    # Untrained models have flat distributions, whose correlations are below 1 by their ε.
    Case('DIST', 'cls', dict(FC, tau=0.1), same=('inter', 'intra')),
    Case('DIST-seg', 'seg', dict(SEG_LOGITS, tau=0.1), same=('inter', 'intra')),
    Case('DKD', 'cls', FC, same=('target', 'non_target')),
    Case(
        'DLB',
        'cls',
        dict(student='head.fc'),
        teacher=False,
        batches=((2, 3), (0, 1, 2, 3), (2, 3, 0, 1)),
    ),
    Case('FGD', 'det', NECK, same=('foreground', 'background', 'attention', 'context')),
    *(
        Case(f'FeatureMimic-{task}', task, MIMIC[task], same=('mimic',), mixer=mixer)
        for task, mixer in zip(
            SCOPES, (None, dict(type='mmkd.PatchMix', variant='permutation')) * 2
        )
    ),
    *(
        Case(f'FeatureMimic-{how}', 'det', dict(MIMIC['det'], normalize=how), same=('mimic',))
        for how in ('channel', 'map')
    ),
    *(
        Case(
            f'GPD-{mixer}',
            'cls',
            dict(student='head.fc', static=LOGITS['cls']),
            mixer=dict(type=f'mmkd.{mixer}') if mixer else None,
        )
        for mixer in ('', 'MixUp', 'PatchMix')
    ),
    Case('GPD-alone', 'cls', dict(student='head.fc'), teacher=False),
    Case('IFVD', 'seg', BOTTLENECK, same=('variation',), mixer=dict(type='mmkd.PatchMix')),
    *(
        Case(
            f'InstanceKD-{task}',
            task,
            {k: v for k, v in LOGITS[task].items() if k not in ('type', 'teacher')},
            mixer=SWAP,
            teacher=False,
            paired=True,
        )
        for task in SCOPES
    ),
    Case('LD', 'det', dict(cls_weight=10.0), family='gfl', mixer=dict(type='mmkd.PatchMix')),
    *(Case(f'LogitKD-{task}', task, LOGITS[task], same=('kd',)) for task in SCOPES),
    Case('MCMI', 'cls', dict(student='head.fc'), teacher=False),
    *(
        Case(f'MGD-{task}', task, dict(taps, mask=mask, levels=(-1,)))
        for task, taps, mask in (
            ('det', NECK, 'spatial'),
            ('seg', BACKBONE, 'spatial'),
            ('cls', BACKBONE, 'channel'),
        )
    ),
    Case(
        'MasKD',
        'det',
        dict(NECK, levels=(1, 2), tokens=FILE, custom_mask_warmup=0),
        same=('maskd',),
    ),
    Case('MasKD-seg', 'seg', dict(BACKBONE, levels=(3,), tokens=FILE, custom_mask_warmup=0)),
    Case('MixKD', 'cls', FC, mixer=dict(type='mmkd.MixUp', partial=0.5)),
    Case('MixKD-plain', 'cls', FC),
    Case('NKD', 'cls', dict(FC, tau=3.0)),
    *(
        Case(
            f'OFA-{mixer}',
            'cls',
            dict(student=STAGES, teacher='head.fc', eps=1.5),
            mixer=dict(type=f'mmkd.{mixer}') if mixer else None,
        )
        for mixer in ('', 'MixUp', 'PatchMix')
    ),
    Case('PKD', 'det', dict(NECK, levels=(0, 1, 2, 3)), same=('mimic',)),
    *(
        Case(
            f'PatchMixSimulationKD-{task}',
            task,
            {
                name: {k: v for k, v in part.items() if k != 'type'}
                for name, part in (('feature', MIMIC[task]), ('logits', LOGITS[task]))
            },
            mixer=dict(type='mmkd.PatchMix'),
            same=('feature_mimic', 'logits_kd'),
        )
        for task in SCOPES
    ),
    Case(
        'ProgressiveSelfKD',
        'cls',
        dict(student='head.fc', num_samples=8),
        teacher=False,
    ),
    Case('SKD', 'seg', BOTTLENECK, same=('pairwise',), mixer=dict(type='mmkd.PatchMix')),
    Case('SnapshotSelfKD', 'cls', dict(student='head.fc'), teacher=False),
    Case(
        'SnapshotSelfKD-det',
        'det',
        {k: v for k, v in LOGITS['det'].items() if k not in ('type', 'teacher', 'tau')},
        teacher=False,
        mixer=dict(type='mmkd.PatchMix'),
    ),
    Case(
        'StochasticSelfKD',
        'cls',
        dict(student=EMBEDDING, teacher=EMBEDDING, passes=3),
        teacher=DROPPING,
        inherit=('backbone', 'head'),
    ),
    Case('TeacherFreeKD', 'cls', dict(student='head.fc'), teacher=False),
    *(
        Case(
            f'USKD-{mixer}',
            'cls',
            dict(student=USKD, sync_mean=True),
            teacher=False,
            mixer=dict(type=f'mmkd.{mixer}') if mixer else None,
        )
        for mixer in ('', 'MixUp', 'CutMix', 'PatchMix')
    ),
    *(
        Case(
            f'{mixer}-{task}{"-seen" if seen else ""}',
            task,
            dict(teacher_on_mixed=seen),
            ('mixer',),
            host=dict(
                type='mmkd.PatchMixSimulationKD',
                feature={k: v for k, v in MIMIC[task].items() if k != 'type'},
                logits={k: v for k, v in LOGITS[task].items() if k != 'type'},
            ),
            batches=((0, 1, 2),) * 3,
        )
        for mixer in ('PatchMix', 'MixUp', 'CutMix')
        for task in SCOPES
        for seen in (False, True)
    ),
    *(Case(f'PatchSwap-{task}', task, dict(prob=1.0), ('mixer',), paired=True) for task in SCOPES),
    *(
        Case(
            f'HardAugment-{augmentor}',
            'cls',
            dict(FC, augmentor=dict(type=f'mmkd.{augmentor}Augmentor'), interval=1, prob=1.0),
            ('mixer',),
        )
        for augmentor in ('Affine', 'Colour', 'Noise', 'Blend', 'Mixture')
    ),
    Case(
        'HardAugment-seg',
        'seg',
        dict(SEG_LOGITS, augmentor=dict(type='mmkd.AffineAugmentor'), interval=1),
        ('mixer',),
    ),
]
