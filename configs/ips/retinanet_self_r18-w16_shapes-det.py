# IPS, dense form (ours). Quarter-width RetinaNet R18 on the generated shapes, without a teacher.
_base_ = '../students/retinanet_r18-w16_shapes-det.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        mixer=dict(type='mmkd.PatchSwap', grid=(2, 2), prob=0.5),
        methods=dict(
            ips=dict(
                type='mmkd.InstanceKD',
                student='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=5,
                tau=4.0,
                weight=4.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
