"""Without a trained teacher: DLB, CS-KD, progressive and stochastic self-distillation, GPD."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.logging import MessageHub
from support.labels import class_view
from support.passes import Passes
from support.views import built, plain_view
from torch import Tensor

from mmkd.methods import CSKD, DLB, ProgressiveSelfKD, StochasticSelfKD
from mmkd.methods.gpd import smoothed_cross_entropy
from official.cases import Case, official


@official('dlb_*')
def dlb(case: Case) -> dict[str, Tensor]:
    """The cross-entropy is the student's own; an earlier step leaves the target."""
    logits, previous, labels = case['student'], case['previous'], case['labels']
    method = built(DLB('head', tau=case.params['tau']), [logits], [])
    new, old = len(logits) - len(previous), len(previous)
    method.compute([previous], [], class_view(labels[new:], range(old)))
    view = class_view(labels, [*range(old, old + new), *range(old)])
    consistency = case.params['alpha'] * method.compute([logits], [], view)['consistency']
    return dict(ce=F.cross_entropy(logits, labels), consistency=consistency)


@official('cskd_*')
def cs_kd(case: Case) -> Tensor:
    """The term beside the cross-entropy."""
    method = built(CSKD('head', tau=case.params['tau']), [case['student']], [])
    loss = method.compute([case['student']], [], class_view(case['labels']))['class_wise']
    return case.params['weight'] * loss


def progressive(case: Case, logits: Tensor) -> Tensor:
    """The student's own cross-entropy and the method's term, an epoch after ``past``."""
    method = ProgressiveSelfKD('head', len(logits), alpha=case.params['alpha_T'])
    built(method, [logits], [])
    view, epoch = class_view(case['labels']), case.params['epoch']
    hub = MessageHub.get_current_instance()
    hub.update_info('max_epochs', case.params['epochs'])
    for number, seen in ((epoch - 1, case['past'].log()), (epoch, logits)):
        if number >= 0:
            hub.update_info('epoch', number)
            loss = method.compute([seen], [], view)['progressive']
    return F.cross_entropy(logits, case['labels']) + loss


@official('progressive_loss_*')
def progressive_loss(case: Case) -> Tensor:
    """The published loss."""
    return progressive(case, case['student'])


@official('progressive_target_*')
def progressive_target(case: Case) -> Tensor:
    """The soft targets, from the gradient (softmax - target) / N of the published loss."""
    logits = case['past'].cos().requires_grad_()
    progressive(case, logits).backward()
    assert logits.grad is not None
    return logits.softmax(1) - len(logits) * logits.grad


@official('stochastic_self_kd')
def stochastic(case: Case) -> Tensor:
    """The passes of the teacher are given."""
    student, passes, params = case['student'], case['teachers'], case.params
    keys = dict(scale=params['scale'], percentile=params['percentile'], passes=len(passes))
    method = StochasticSelfKD('head', 'b', **keys)
    built(method, [student], [passes[0]], {'': Passes(passes[1:])})
    return method.compute([student], [passes[0]], plain_view(len(student)))['guided']


@official('gpd_*')
def gpd(case: Case) -> Tensor:
    """The term by which the student learns from the dynamic teacher; smoothed as published."""
    smoothing = case.params.get('label_smoothing', 0.0)
    return smoothed_cross_entropy(case['student'], case['teacher'].softmax(1), smoothing)
