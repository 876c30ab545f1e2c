# GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = 'mmdet::gfl/gfl_r50_fpn_1x_coco.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(teacher=dict(config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py', checkpoint='auto')),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
