# IPS, dense form (ours). Quarter-width RetinaNet R18 on BCCD, without a teacher.
_base_ = '../_base_/pairs/retinanet_self_r18-w16_bccd.py'
model = dict(
    distill=dict(
        mixer=dict(type='mmkd.PatchSwap', grid=(2, 2), prob=0.5),
        methods=dict(
            ips=dict(
                type='mmkd.InstanceKD',
                student='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=3,
                tau=4.0,
                weight=4.0,
            )
        ),
    )
)
