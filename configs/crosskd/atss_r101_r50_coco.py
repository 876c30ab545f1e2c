# CrossKD. ATSS R101 -> R50 on COCO, both trained for 12 epochs.
_base_ = 'mmdet::atss/atss_r50_fpn_1x_coco.py'
# The student's feature behind conv 3 of 4 and its activation, all weights 1, as published.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmdet::atss/atss_r101_fpn_1x_coco.py', checkpoint='auto'),
        methods=dict(crosskd=dict(type='mmkd.CrossKD', head='atss')),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
