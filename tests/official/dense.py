"""Feature methods: CWD, PKD, MGD, FGD, MasKD, AT, FitNet."""

from __future__ import annotations

from official.cases import waiting

waiting('to be written', 'cwd_mmrazor_tau1', 'cwd_mmrazor_tau4_w3', 'cwd_mmrazor_scale40')
waiting('to be written', 'cwd_cirkd_channels_4_to_7', 'cwd_cirkd_same_channels')
waiting('to be written', 'pkd_one_level', 'pkd_two_levels_w6', 'pkd_dead_channels', 'pkd_resized')
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
