"""Logits and tokens with a teacher: KD, DKD, NKD, DIST, MIX-KD, OFA, CosPress and others."""

from __future__ import annotations

from types import SimpleNamespace

from mmpretrain.models.losses import CrossEntropyLoss
from support.labels import class_view
from support.views import built, plain_view
from torch import Tensor, nn

from mmkd.methods import DIST, DKD, NKD, OFA, CosPress, LogitKD, Method, MixKD
from official.cases import Case, official, waiting

waiting('mmkd has no logit standardization yet', 'lskd_*')
waiting('mmkd has no RLD yet', 'rld_*')
waiting('mmkd has no ViTKD yet', 'vitkd_*')
waiting('mmkd has no ScaleKD yet', 'scalekd_*')

waiting('the official map loss is not implemented yet', 'cospress_global_*', 'cospress_local_full')


@official('kd_mdistiller_*')
def kd(case: Case, entropy: bool = False) -> Tensor:
    """KL at a temperature, mean over the images."""
    method = LogitKD('head', 'head', tau=case.params['tau'], entropy=entropy)
    student, teacher = [case['student']], [case['teacher']]
    return method.compute(student, teacher, plain_view(len(student[0])))['kd']


@official('kd_cls_kd_cross_entropy')
def kd_cross_entropy(case: Case) -> Tensor:
    """A cross-entropy: KL and the teacher's entropy, which is constant; the weight is alpha."""
    return case.params['alpha'] * kd(case, entropy=True)


def losses(method: Method, case: Case) -> dict[str, Tensor]:
    """Return the losses of a method on the logits and labels of a case."""
    student, teacher = [case['student']], [case['teacher']]
    labels = case.inputs.get('labels')
    view = plain_view(len(student[0])) if labels is None else class_view(labels)
    return built(method, student, teacher).compute(student, teacher, view)


@official('dkd_*')
def dkd(case: Case) -> Tensor:
    """TCKD and NCKD."""
    return sum(losses(DKD('head', 'head', **case.params), case).values())


@official('nkd_*')
def nkd(case: Case) -> Tensor:
    """The target's and the normalized others' cross-entropies."""
    return sum(losses(NKD('head', 'head', **case.params), case).values())


@official('dist_*')
def dist(case: Case) -> Tensor:
    """Correlations of images, or pixels, and of classes."""
    return sum(losses(DIST('head', 'head', **case.params), case).values())


@official('mixkd_*')
def mix_kd(case: Case) -> dict[str, Tensor]:
    """The class loss of the head is replaced: the method adds the difference to it."""
    student, teacher = [case['student']], [case['teacher']]
    head = nn.Module()
    head.loss_module = CrossEntropyLoss(use_soft=True)
    model = SimpleNamespace(head=head)
    method = MixKD('head', 'head', **case.params)
    method.build(model, student, teacher, {})
    found = method.compute(student, teacher, class_view(case['labels']))
    own = head.loss_module(student[0], case['labels'])
    return dict(cls=found['class'] + own, kd=found['kd'])


@official('ofa_*')
def ofa(case: Case) -> Tensor:
    """The loss of the student's own logits; a case has no stages."""
    student, teacher = case['student'], [case['teacher']]
    taps = dict(logits=[student], stages=[student.new_zeros(len(student), 2, 1, 1)])
    teachers = {'': SimpleNamespace(model=nn.ModuleDict(dict(head=nn.Identity())))}
    method = OFA(dict(logits='head', stages=['stage']), 'head', eps=case.params['eps'])
    built(method, taps, teacher, teachers)
    return method.compute(taps, teacher, class_view(case['labels']))['logits']


@official('cospress_direction', 'cospress_feature_tokens')
def cospress_direction(case: Case) -> Tensor:
    """The direction of an embedding, mapped already; the tokens of an image are one."""
    student, teacher = ([case[name].flatten(1)] for name in ('student', 'mapped'))
    method = built(CosPress('head', 'head'), student, teacher)
    nn.init.eye_(method.compress.weight)
    return method.compute(student, teacher, plain_view(len(student[0])))['direction']
