"""The table of the contract test: every method, plug-in and mixer in whole tiny models.

:data:`CASES` places each of them in a model of each task that it has something special for;
:data:`BAD` lists configs that must be refused, with the config key that the error names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from support.heads import detector_config
from support.helpers import build, make_batch, tiny_tokens
from support.tiny_models import LOGITS, MIMIC, SCOPES, model_config, teacher_config
from torch import Tensor, nn

from mmkd.datasets.shapes_scene import CLASSES
from mmkd.models import distilled

SIZES = dict(det=64, seg=96, cls=32)
FC = dict(student='head.fc', teacher='head.fc')
NECK = dict(student='neck', teacher='neck')
BACKBONE = dict(student='backbone', teacher='backbone')
BOTTLENECK = dict(student='decode_head.bottleneck', teacher='decode_head.bottleneck')
SEG_LOGITS = dict(student='decode_head.conv_seg', teacher='decode_head.conv_seg')
EMBEDDING = dict(module='head.fc', source='input')
STAGES = dict(logits='head.fc', stages=[f'backbone.layer{i}' for i in (1, 2, 3, 4)])
USKD = dict(logits='head.fc', feature=dict(module='backbone.layer3', levels=(-1,)))
# DropPath; branches that start at zero would make dropping them invisible.
DROPPING = dict(
    backbone=dict(model_config('cls', 4)['backbone'], drop_path_rate=0.5, zero_init_residual=False)
)
SWAP = dict(type='mmkd.PatchSwap', prob=1.0)
QUEUES = dict(
    pixel_queue=30, region_queue=6, pixel_samples=20, region_samples=9, pixels_per_class=3
)


@dataclass(frozen=True, eq=False)
class Case:
    """One method, plug-in or mixer in a model.

    Args:
        name: Its type without the scope, and what is special after a dash.
        task: Task of the model.
        config: Its config, without the type.
        path: Where the config stands in ``model.distill``; method ``m`` by default.
        host: Config of the method that a plug-in wraps. Defaults to None.
        mixer: Config of the mixer. Defaults to None.
        family: Detector family, see :mod:`support.heads`. Defaults to '', RetinaNet.
        teacher: Whether there is a teacher; a dict changes its config. Defaults to True.
        inherit: As in ``model.distill``. Defaults to ().
        batches: Image numbers of three steps, the first one in an epoch of its own.
        paired: Whether the second half of a batch has the labels of the first.
        same: Losses that are 0 where the student equals the teacher. Defaults to ().
    """

    name: str
    task: str
    config: dict[str, Any]
    path: tuple[str, ...] = ('methods', 'm')
    host: dict[str, Any] | None = None
    mixer: dict[str, Any] | None = None
    family: str = ''
    teacher: bool | dict[str, Any] = True
    inherit: tuple[str, ...] = ()
    batches: Sequence[Sequence[int]] = ((0, 1, 2, 3),) * 3
    paired: bool = False
    same: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Registered name."""
        return f'mmkd.{self.name.partition("-")[0]}'

    def __str__(self) -> str:
        return self.name

    def model(self, width: int = 4, overrides: Any = None) -> dict[str, Any]:
        """Return the config of a model, as wide as the student by default."""
        if self.family:
            return detector_config(self.family, width)
        return {**model_config(self.task, width), **(overrides or {})}

    def distill(self, folder: Path, width: int = 8, **changes: Any) -> dict[str, Any]:
        """Return ``model.distill``, with changes of the config of this case's part."""
        folder = folder / (self.family or 'plain')
        folder.mkdir(exist_ok=True)
        found: dict[str, Any] = dict(inherit=self.inherit, methods={})
        if self.teacher:
            overrides = self.teacher if isinstance(self.teacher, dict) else {}
            width = 4 if overrides else width
            found['teacher'] = teacher_config(
                self.task, folder, width, **self.model(width, overrides)
            )
        if self.mixer is not None:
            found['mixer'] = copy.deepcopy(self.mixer)
        if self.path[0] == 'mixer':
            found['methods']['m'] = copy.deepcopy(self.host or LOGITS[self.task])
        elif self.host is not None:
            found['methods']['m'] = copy.deepcopy(self.host)
        config = {**copy.deepcopy(self.config), 'type': self.type}
        if config.get('tokens') == FILE:
            config['tokens'] = tiny_tokens(config, found['teacher'], folder)
        node = found
        for key in self.path[:-1]:
            node = node[key]
        node[self.path[-1]] = {**config, **copy.deepcopy(changes)}
        return found

    def plain(self, seed: int = 0) -> nn.Module:
        """Return the student without distillation."""
        torch.manual_seed(seed)
        model = build(self.model(), SCOPES[self.task])
        model.init_weights()
        return model.train()

    def student(self, distill: dict[str, Any], seed: int = 0) -> nn.Module:
        """Return the distilled student."""
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope(SCOPES[self.task]):
            model = distilled(build(self.model(), SCOPES[self.task]), **distill)
            model.init_weights()
        return model.train()

    def raw(self) -> dict[str, list[Any]]:
        """Return four raw images of three classes."""
        classes = 3 if self.family else len(CLASSES) + (self.task == 'seg')
        size = SIZES[self.task]
        batch = make_batch(self.task, 4, size, num_classes=classes, paired=self.paired)
        if self.task == 'cls':
            for number, sample in enumerate(batch['data_samples']):
                sample.set_gt_label(number % 2)
        return batch

    def batch(self, model: nn.Module, numbers: Sequence[int]) -> tuple[Tensor, list[Any]]:
        """Return some of the images, preprocessed."""
        raw = {key: [values[n] for n in numbers] for key, values in self.raw().items()}
        data = model.data_preprocessor(raw, True)
        return data['inputs'], data['data_samples']

    def step(self, model: nn.Module, iteration: int = 0) -> dict[str, Any]:
        """Return the losses of one step; the first two iterations begin an epoch."""
        epoch = min(iteration, 1)
        hub = MessageHub.get_current_instance()
        for key, value in dict(iter=iteration, epoch=epoch, max_epochs=2, max_iters=10).items():
            hub.update_info(key, value)
        if epoch == iteration:
            for method in model.distiller.methods.values():
                method.before_epoch(model, [self.raw()])
        torch.manual_seed(iteration)
        return model(*self.batch(model, self.batches[iteration]), mode='loss')


FILE = 'a file'
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
    Case('DIST', 'cls', FC, same=('inter', 'intra')),
    Case('DIST-seg', 'seg', SEG_LOGITS, same=('inter', 'intra')),
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
    Case('FeatureMimic-normalized', 'det', dict(MIMIC['det'], normalize=True), same=('mimic',)),
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

# Configs that must be refused: changes of the first case of this name, and the key of the error.
BAD: dict[str, Sequence[tuple[dict[str, Any], str]]] = {
    'ACAM': [
        (dict(masks_from='none'), 'masks_from'),
        (dict(fusion='student'), 'fusion'),
        (dict(reduction='sum'), 'reduction'),
        (dict(seek='both'), 'seek'),
        (dict(num_masks=0), 'num_masks'),
        (dict(pool=0), 'pool'),
        (dict(pool='always'), 'pool'),
        (dict(alpha=0), 'alpha'),
        (dict(diversity=-1.0), 'diversity'),
        (dict(area=-1.0), 'area'),
    ],
    'AT': [(dict(p=0.5), 'p')],
    'AT-cls': [(FC, 'student')],
    'CIRKD': [
        (dict(tau=0.0), 'tau'),
        (dict(pool=0), 'pool'),
        (dict(pixel_queue=0), 'pixel_queue'),
        (dict(region_samples=1.5), 'region_samples'),
        (dict(pixels_per_class=True), 'pixels_per_class'),
        (dict(region_weight=-1.0), 'region_weight'),
        (dict(batch_weight=0.0, pixel_weight=0.0, region_weight=0.0), 'batch_weight'),
        (BACKBONE, 'levels'),
    ],
    'CSKD': [(dict(tau=0.0), 'tau'), (dict(student='backbone'), 'student')],
    'CWD': [
        (dict(tau=0), 'tau'),
        (dict(student='backbone'), 'levels'),
        (dict(teacher=['neck', 'backbone']), 'levels'),
    ],
    'CWD-cls': [(FC, 'student')],
    'CosPress': [(dict(student='backbone'), 'student'), (dict(teacher='backbone'), 'teacher')],
    'CrossKD': [
        (dict(head='yolo'), 'head'),
        (dict(head=dict(cls='a', reg='b')), 'head'),
        (dict(head=dict(cls='a', reg='b', box='l1')), 'head.box'),
        (dict(head=dict(clss='a', reg='b', box='iou')), 'head.clss'),
        (dict(start=-1), 'start'),
        (dict(start=True), 'start'),
        (dict(cls_weight=-1.0), 'cls_weight'),
        (dict(student=['bbox_head']), 'student'),
    ],
    'DAFA': [
        (dict(tau=0), 'tau'),
        (dict(every=0), 'every'),
        (dict(probability=1.5), 'probability'),
        (dict(magnitude=-0.5), 'magnitude'),
        (dict(identity=-1), 'identity'),
        (dict(operations=('gain',)), 'operations'),
        (dict(operations=('blurr', 'gain')), 'operations'),
        (dict(optimizer=dict(type='Adamm')), 'optimizer'),
    ],
    'DAM': [
        (dict(area='both'), 'area'),
        (dict(peaks=0), 'peaks'),
        (dict(head_weight=0), 'head_weight'),
        (dict(region_weight=-1), 'region_weight'),
    ],
    'DIST': [
        (dict(tau=0.0), 'tau'),
        (dict(beta=-1.0), 'beta'),
        (dict(gamma=-1.0), 'gamma'),
        (dict(beta=0.0, gamma=0.0), 'gamma'),
        (dict(teacher='neck'), 'student'),
        (dict(teacher='backbone'), 'student'),
    ],
    'DKD': [
        (dict(tau=-1.0), 'tau'),
        (dict(alpha=-1.0), 'alpha'),
        (dict(beta=-1.0), 'beta'),
        (dict(teacher='neck'), 'student'),
    ],
    'DLB': [
        (dict(tau=0.0), 'tau'),
        (dict(student='backbone'), 'student'),
        (dict(every=2), 'weight.every'),
        (dict(weight=dict(value=1.0, every=2)), 'weight.every'),
    ],
    'FGD': [(dict(tau=0), 'tau'), (dict(alpha=-1.0), 'alpha'), (dict(lambda_=-1.0), 'lambda_')],
    'FeatureMimic': [(dict(weight=-1), 'weight'), (dict(levels=()), 'student')],
    'GPD': [
        (dict(student='backbone'), 'student'),
        (dict(ratio=1), 'ratio'),
        (dict(ratio=1.5), 'ratio'),
        (dict(kd_weight=0), 'kd_weight'),
        (dict(static=dict(type='mmkd.CSKD', student='head.fc')), 'static'),
        (dict(static=dict(LOGITS['cls'], weight=dict(value=1.0, end=5))), 'static.weight'),
        (dict(static=MIMIC['cls']), 'static'),
    ],
    'InstanceKD': [
        (dict(direction='hard_to_easy'), 'direction'),
        (dict(activation='tanh'), 'activation'),
        (dict(tau=0.0), 'tau'),
        (dict(points=0), 'points'),
        (dict(teacher='head.fc'), 'teacher'),
        (dict(student=None), 'student'),
        (dict(student=dict(a='bbox_head.retina_cls')), 'student'),
        (dict(weight=-1), 'weight'),
    ],
    'LD': [
        (dict(tau=0.0), 'tau'),
        (dict(cls_tau=-1.0), 'cls_tau'),
        (dict(main_weight=-1.0), 'main_weight'),
        (dict(main_weight=0.0, valuable_weight=0.0, cls_weight=0.0), 'main_weight'),
        (dict(levels=()), 'levels'),
        (dict(teacher=''), 'teacher'),
    ],
    'LogitKD': [(dict(tau=0), 'tau'), (dict(activation='tanh'), 'activation')],
    'MCMI': [(dict(refresh='always'), 'refresh'), (dict(student='backbone'), 'student')],
    'MGD': [
        (dict(mask='cells'), 'mask'),
        (dict(mask_ratio=1.0), 'mask_ratio'),
        (dict(mask_ratio=-0.1), 'mask_ratio'),
    ],
    'MasKD': [(dict(custom_mask_warmup=v), 'custom_mask_warmup') for v in (-1, 0.5, True)],
    'MixKD': [
        (dict(alpha=-1.0), 'alpha'),
        (dict(gamma=-1.0), 'gamma'),
        (dict(teacher='neck'), 'student'),
    ],
    'NKD': [
        (dict(tau=0.0), 'tau'),
        (dict(gamma=-1.0), 'gamma'),
        (dict(student='backbone'), 'student'),
        (dict(teacher='backbone'), 'student'),
        (dict(teacher='neck'), 'student'),
    ],
    'OFA': [
        (dict(student='head.fc'), 'student'),
        (dict(student=dict(logits='head.fc', stages=[])), 'student'),
        (dict(student=dict(STAGES, logits='backbone')), 'student.logits'),
        (dict(student=dict(STAGES, stages='head.fc')), 'student.stages'),
        (dict(teacher='backbone'), 'teacher'),
        (dict(eps=0.5), 'eps'),
        (dict(stage_eps=(1.0, 2.0)), 'stage_eps'),
        (dict(stage_eps=0.9), 'stage_eps'),
    ],
    'PatchMixSimulationKD': [
        (dict(feature=dict(NECK, warmup_iters=10)), 'feature.weight'),
        (dict(feature=MIMIC['det']), 'feature.type'),
        (dict(feature=dict(NECK, weight=dict(value=1.0, warmup_iters=10))), 'feature.weight'),
        (dict(logits=dict(NECK, warmup_iters=10)), 'logits.weight'),
        (dict(feature=None, logits=None), ''),
    ],
    'ProgressiveSelfKD': [
        (dict(num_samples=0), 'num_samples'),
        (dict(alpha=0.0), 'alpha'),
        (dict(alpha=1.5), 'alpha'),
        (dict(top_k=0), 'top_k'),
        (dict(dtype='bf16'), 'dtype'),
    ],
    'SKD': [(dict(pool=0), 'pool')],
    'SnapshotSelfKD': [(dict(alpha=0), 'alpha'), (dict(teacher='head.fc'), 'teacher')],
    'StochasticSelfKD': [
        (dict(passes=1), 'passes'),
        (dict(passes=2.0), 'passes'),
        (dict(scale=0.0), 'scale'),
        (dict(percentile=101.0), 'percentile'),
        (dict(student=['head.fc', 'neck']), 'student'),
    ],
    'TeacherFreeKD': [
        (dict(tau=0.0), 'tau'),
        (dict(student='backbone'), 'student'),
        (dict(alpha=0.0), 'alpha'),
        (dict(correct_prob=1.5), 'correct_prob'),
    ],
    'USKD': [
        (dict(student='head.fc'), 'student'),
        (dict(rank_from='logit'), 'rank_from'),
        (dict(alpha=-1.0), 'alpha'),
        (dict(mu=0.0), 'mu'),
        (dict(student=dict(USKD, feature='neck')), 'student.feature'),
        (dict(student=dict(USKD, logits='backbone')), 'student.logits'),
    ],
    'PatchMix': [
        (dict(variant='rows'), 'variant'),
        (dict(num_images=0), 'num_images'),
        (dict(patch_size=0), 'patch_size'),
        (dict(grid=(0, 2)), 'grid'),
        (dict(grid=(2, 2, 2)), 'grid'),
        (dict(prob=1.5), 'prob'),
        (dict(prob=-0.1), 'prob'),
        (dict(prob=float('nan')), 'prob'),
        (dict(min_visibility=2), 'min_visibility'),
    ],
    'MixUp': [
        (dict(partial=1.0), 'partial'),
        (dict(partial=-0.1), 'partial'),
        (dict(partial_mode='some'), 'partial_mode'),
    ],
    'PatchSwap': [
        (dict(patch_size=0), 'patch_size'),
        (dict(grid=(0, 2)), 'grid'),
        (dict(prob=1.5), 'prob'),
        (dict(share=0), 'share'),
        (dict(share=1.1), 'share'),
        (dict(share='all'), 'share'),
        (dict(min_share=0), 'min_share'),
    ],
    'HardAugment': [
        (dict(tau=0), 'tau'),
        (dict(prob=1.5), 'prob'),
        (dict(interval=0), 'interval'),
        (dict(confidence=-1), 'confidence'),
        (dict(thresholds=(2.0, 1.0)), 'thresholds'),
        (dict(thresholds=(1.0,)), 'thresholds'),
        (dict(optimizer=dict(type='NoOptimizer')), 'optimizer'),
        (dict(augmentor=dict(type='mmkd.MixUp')), 'augmentor.type'),
        (dict(student='head.fk'), 'student'),
        (dict(student=['head.fc', 'neck']), 'student'),
        (dict(student='backbone'), 'student'),
        (dict(teacher='other:head.fc'), 'teacher'),
        *(
            (dict(augmentor=dict(type=f'mmkd.{kind}Augmentor', **arguments)), f'augmentor.{key}')
            for kind, arguments, key in (
                ('Affine', dict(shift=-0.1), 'shift'),
                ('Affine', dict(scale=1.0), 'scale'),
                ('Affine', dict(padding='mirror'), 'padding'),
                ('Affine', dict(hidden=1.5), 'hidden'),
                ('Blend', dict(share=0.8), 'share'),
                ('Mixture', dict(bank=()), 'bank'),
                ('Mixture', dict(tau=0), 'tau'),
                ('Mixture', dict(bank=(dict(type='mmkd.AffinAugmentor'),)), 'bank.0.type'),
                ('Mixture', dict(bank=(dict(type='mmkd.MixUp'),)), 'bank.0.type'),
                ('VAE', dict(vae='vae.py'), 'vae'),
            )
        ),
    ],
}


def bad_configs() -> Iterator[tuple[Case, dict[str, Any], str]]:
    """Yield the case, the changes and the key of each entry of ``BAD``."""
    for name, entries in BAD.items():
        case = next(case for case in CASES if f'{case.name}-'.startswith(f'{name}-'))
        for changes, key in entries:
            yield case, changes, key
