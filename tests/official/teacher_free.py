"""Without a teacher: USKD, MCMI, Tf-KD."""

from __future__ import annotations

import torch
from support.labels import class_view
from support.views import built
from torch import Tensor
from torch.nn import functional as F

from mmkd.methods import MCMI, USKD, TeacherFreeKD
from mmkd.methods.mcmi import class_sums
from official.cases import Case, official


@official('uskd_*')
def uskd(case: Case) -> Tensor:
    """Soft labels of the targets and of the others, and the weak head."""
    taps = dict(logits=[case['student']], feature=[case['feature'][..., None, None]])
    method = built(USKD(dict(logits='head', feature='stage'), **case.params), taps, [])
    with torch.no_grad():
        method.head.weight.copy_(case['fc_weight'])
        method.head.bias.copy_(case['fc_bias'])
    return sum(method.compute(taps, [], class_view(case['labels'])).values())


@official('mcmi_cifar', 'mcmi_k40', 'mcmi_sharp_centroids')
def mcmi(case: Case) -> Tensor:
    """The method adds the information to the cross-entropy of the model's own head."""
    logits, labels = [case['student']], case['labels']
    method = built(MCMI('head'), logits, [])
    method.centroids.copy_(case['centroids'])
    method.counts.fill_(1)
    (loss,) = method.compute(logits, [], class_view(labels)).values()
    return F.cross_entropy(logits[0], labels) + case.params['weight'] * loss


@official('mcmi_centroids')
def centroids(case: Case) -> Tensor:
    """The mean output of a class, added up batch by batch."""
    classes = case['outputs'].shape[-1]
    total = [torch.zeros(()).double()] * 2
    for logits, labels in zip(case['outputs'], case['labels'], strict=True):
        found = class_sums(logits.softmax(1), F.one_hot(labels, classes).double())
        total = [a + b for a, b in zip(total, found, strict=True)]
    return total[0] / total[1][:, None]


@official('tfkd_reg_*')
def tf_kd(case: Case) -> Tensor:
    """The method adds to the cross-entropy of the student's own head."""
    logits, labels = [case['student']], case['labels']
    method = built(TeacherFreeKD('head', **case.params), logits, [])
    (loss,) = method.compute(logits, [], class_view(labels)).values()
    return F.cross_entropy(logits[0], labels) + loss
