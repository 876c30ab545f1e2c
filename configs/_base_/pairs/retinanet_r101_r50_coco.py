# RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py', checkpoint='auto')
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
