# RetinaNet X101-64x4d -> R50 on COCO: 24 epochs, a teacher of 36 multi-scale ones.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::retinanet/retinanet_x101-64x4d_fpn_ms-640-800-3x_coco.py',
            checkpoint='auto',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
