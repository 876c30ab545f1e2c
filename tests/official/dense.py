"""Feature methods: CWD, PKD, MGD, FGD, MasKD, AT, FitNet."""

from __future__ import annotations

from typing import Any

import torch
from support.views import built, plain_view
from torch import Tensor

from mmkd.methods import PKD, Method
from official.cases import Case, official, waiting

waiting('to be written', 'cwd_mmrazor_tau1', 'cwd_mmrazor_tau4_w3', 'cwd_mmrazor_scale40')
waiting('to be written', 'cwd_cirkd_channels_4_to_7', 'cwd_cirkd_same_channels')
waiting('to be written', 'mgd_det_spatial', 'mgd_det_align_4_to_6', 'mgd_cls_channel')
waiting(
    'to be written',
    'fgd_total',
    'fgd_only_foreground',
    'fgd_only_background',
    'fgd_only_attention',
    'fgd_only_relation',
    'fgd_align_and_padded_image',
    'fgd_box_is_the_image',
)
waiting(
    'to be written',
    'maskd_det_weighted',
    'maskd_det_student_masks',
    'maskd_det_unweighted_two_levels',
    'maskd_seg',
    'maskd_dice',
    'maskd_dice_equal_and_empty',
    'maskd_mask_stage',
)
waiting(
    'to be written',
    'at_authors',
    'at_mdistiller_student_larger',
    'at_mdistiller_teacher_larger',
    'at_cirkd_dead_image',
)
waiting(
    'to be written', 'fitnet_cirkd_5_to_7', 'fitnet_cirkd_identity', 'fitnet_mdistiller_regressor'
)


def maps(case: Case, side: str) -> list[Tensor]:
    """Return the maps of one side, level by level."""
    return [case[name] for name in (side, f'{side}_1') if name in case.inputs]


def prepared(method: Method, case: Case) -> Any:
    """Create the method's parameters for the maps of a case."""
    return built(method, maps(case, 'student'), maps(case, 'teacher'))


def loss(method: Method, case: Case) -> Tensor:
    """Return the method's unweighted loss."""
    view = plain_view(len(case['student']))
    losses = method.compute(maps(case, 'student'), maps(case, 'teacher'), view)
    return torch.stack(list(losses.values())).sum()


@official('pkd_*')
def pkd(case: Case) -> Tensor:
    """Half the squared difference of standardized maps."""
    return case.params['loss_weight'] * loss(prepared(PKD('a', 'b'), case), case)
