"""Configs of methods, plug-ins and mixers that must be refused, with the key of the error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from support.contract import BACKBONE, FC, NECK, STAGES, USKD, Case
from support.contract_cases import CASES
from support.tiny_models import LOGITS, MIMIC

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
        (dict(pixels_from='all'), 'pixels_from'),
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
        (dict(activated='relu'), 'activated'),
        (dict(min_centerness=0.0), 'min_centerness'),
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
        (dict(smoothing=1.1), 'smoothing'),
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
        (dict(overlap='diou'), 'overlap'),
    ],
    'LogitKD': [(dict(tau=0), 'tau'), (dict(activation='tanh'), 'activation')],
    'MCMI': [
        (dict(refresh='always'), 'refresh'),
        (dict(student='backbone'), 'student'),
        (dict(eps=-0.1), 'eps'),
    ],
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
        (dict(weight=dict(value=1.0, every=2)), 'weight.every'),
    ],
    'SKD': [(dict(pool=v), 'pool') for v in (0, -0.5, 1.0, True)],
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
        (dict(multiplier=0.0), 'multiplier'),
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
