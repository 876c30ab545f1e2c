"""Logits and tokens with a teacher: KD, DKD, NKD, DIST, MIX-KD, OFA, CosPress and others."""

from __future__ import annotations

from support.views import plain_view
from torch import Tensor

from mmkd.methods import LogitKD
from official.cases import Case, official, waiting

waiting('mmkd has no logit standardization yet', 'lskd_*')
waiting('mmkd has no RLD yet', 'rld_*')
waiting('mmkd has no ViTKD yet', 'vitkd_*')
waiting('mmkd has no ScaleKD yet', 'scalekd_*')

waiting(
    'to be written',
    'dkd_alpha1_beta8_tau4',
    'dkd_beta05_tau1',
    'dkd_target_term',
    'dkd_non_target_term',
)
waiting('to be written', 'nkd_tau1', 'nkd_tau4_k100', 'nkd_soft_labels')
waiting(
    'to be written',
    'dist_cls_tau1',
    'dist_cls_tau4',
    'dist_cls_intra_only',
    'dist_seg',
    'dist_seg_absent_class',
)
waiting('to be written', 'mixkd_mixed_labels', 'mixkd_onehot_k100')
waiting('to be written', 'ofa_eps1', 'ofa_eps15_k100', 'ofa_eps11')
waiting('to be written', 'cospress_global_full', 'cospress_global_half', 'cospress_local_full')
waiting('to be written', 'cospress_direction', 'cospress_feature_tokens')


@official('kd_mdistiller_*')
def kd(case: Case) -> Tensor:
    """KL at a temperature, mean over the images."""
    method = LogitKD('head', 'head', tau=case.params['tau'], weight=1.0)
    student, teacher = [case['student']], [case['teacher']]
    return method.compute(student, teacher, plain_view(len(student[0])))['kd']


@official('kd_cls_kd_cross_entropy')
def kd_cross_entropy(case: Case) -> Tensor:
    """A cross entropy: KL and the teacher's entropy, which is constant."""
    tau = case.params['tau']
    target = (case['teacher'] / tau).softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    return case.params['alpha'] * (kd(case) + tau**2 * entropy)
