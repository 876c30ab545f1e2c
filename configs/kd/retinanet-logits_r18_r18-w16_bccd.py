# Logit distillation. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='bbox_head.retina_cls',
                teacher='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=3,
                weight=1.0,
            )
        )
    )
)
