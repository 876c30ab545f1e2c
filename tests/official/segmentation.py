"""Methods for segmenters: pixel KD, SKD, IFVD, CIRKD, Af-DCD."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from support.views import built, labeled_view, plain_view
from torch import Tensor

from mmkd.functional import resize_labels
from mmkd.methods import CIRKD, IFVD, SKD, LogitKD
from official.cases import Case, official, waiting

waiting('mmkd has no Af-DCD yet', 'afdcd_*')


def pixel_kd(case: Case, tau: float = 1.0, entropy: bool = False) -> Tensor:
    """KL over the classes, mean over the pixels of all images."""
    method = LogitKD('decode_head.conv_seg', 'decode_head.conv_seg', tau=tau, entropy=entropy)
    return method.compute([case['student']], [case['teacher']], plain_view())['kd']


@official('pixelkd_cirkd_*')
def pixel_kd_cirkd(case: Case) -> Tensor:
    """LogitKD itself."""
    return pixel_kd(case, case.params['tau'])


@official('pixelkd_skd_authors')
def pixel_kd_skd(case: Case) -> Tensor:
    """N times LogitKD with the teacher's entropy, which is constant; the weight has the N."""
    return len(case['teacher']) * pixel_kd(case, entropy=True)


@official('pixelkd_ifvd_authors')
def pixel_kd_ifvd(case: Case) -> Tensor:
    """LogitKD divided by the number of classes."""
    return pixel_kd(case) / case['student'].shape[1]


def skd(case: Case, **kwargs: Any) -> Tensor:
    """Nodes are maxima of windows; the teacher's channels differ."""
    student, teacher = [case['student']], [case['teacher']]
    method = built(SKD('decode_head.dropout', 'decode_head.bottleneck', **kwargs), student, teacher)
    return method.compute(student, teacher, plain_view())['pairwise']


@official('skd_authors_*')
def skd_authors(case: Case) -> Tensor:
    """Windows are a share of the map, the norm is a constant."""
    return skd(case, pool=case.params['scale'])


@official('skd_cirkd_*')
def skd_cirkd(case: Case) -> Tensor:
    """Windows of 2×2 locations, the gradient passes through the norm."""
    return skd(case, pool=case.params['pool'], detach_norm=False)


@official('ifvd_*')
def ifvd(case: Case) -> Tensor:
    """Labels of the image's size, some ignored."""
    student, teacher = [case['student']], [case['teacher']]
    taps = 'decode_head.dropout', 'decode_head.bottleneck'
    method = built(IFVD(*taps, num_classes=case.params['num_classes']), student, teacher)
    return method.compute(student, teacher, labeled_view(case['labels']))['variation']


def cirkd(case: Case, **kwargs: Any) -> CIRKD:
    """Return the method for a case."""
    taps = 'decode_head.dropout', 'decode_head.bottleneck'
    method = CIRKD(*taps, tau=case.params['tau'], **kwargs)
    return built(method, [case['student']], [case['teacher']])


@official('cirkd_batch*')
def cirkd_batch(case: Case) -> Tensor:
    """All pairs of images, an image with itself included."""
    method = cirkd(case, pixel_weight=0, region_weight=0)
    return method.compute([case['student']], [case['teacher']], plain_view())['batch']


def with_memory(case: Case) -> CIRKD:
    """Return the method with the projection and the queues of a case."""
    sizes = {f'{kind}_queue': case[f'{kind}_queue'].shape[1] for kind in ('pixel', 'region')}
    weights = dict(batch_weight=0, pixel_weight=1, region_weight=1)
    method = cirkd(case, num_classes=case.params['num_classes'], **sizes, **weights)
    weights = ('project0_weight', 'bn_weight', 'bn_bias', 'project3_weight')
    for parameter, name in zip(method.project.parameters(), weights, strict=True):
        parameter.data.copy_(case[name])
    for kind in ('pixel', 'region'):
        getattr(method, f'{kind}_queue').copy_(case[f'{kind}_queue'])
    return method


@official('cirkd_memory*')
def cirkd_memory(case: Case) -> dict[str, Tensor]:
    """The recorded queues are those after the step's update; the drawn slots are recorded, too."""
    method = with_memory(case)
    method.update_queues = lambda *_: None
    method.draw = lambda kind, _: case[f'{kind}_queue'][:, case[f'{kind}_index']].flatten(0, 1)
    return method.compute([case['student']], [case['teacher']], labeled_view(case['labels']))


@official('cirkd_region_queue_update')
def cirkd_queue(case: Case) -> Tensor:
    """Normalized means of the teacher's unit locations, image by image."""
    method = with_memory(case)
    labels = resize_labels(case['labels'], tuple(case['teacher'].shape[-2:]))
    method.update_queues(F.normalize(case['teacher'], dim=1), labels, 0)
    return method.region_queue
