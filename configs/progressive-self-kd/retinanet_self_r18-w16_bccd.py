# Self-distillation from the weights of the epoch before. Quarter-width RetinaNet R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_self_r18-w16_bccd.py'
# The form is ours, and so is the weight.
model = dict(
    distill=dict(
        methods=dict(
            past=dict(
                type='mmkd.SnapshotSelfKD',
                student='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=3,
                alpha=0.8,
                weight=1.0,
            )
        )
    )
)
