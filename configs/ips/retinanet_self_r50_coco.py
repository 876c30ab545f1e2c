# IPS, dense form (ours). RetinaNet R50 on COCO, 24 epochs, without a teacher.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        # Ours: the paper has no form for boxes that we know.
        mixer=dict(type='mmkd.PatchSwap', grid=(4, 4), prob=0.5),
        methods=dict(
            ips=dict(
                type='mmkd.InstanceKD',
                student='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=80,
                tau=4.0,
                weight=4.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
