# Logit KD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
# One sigmoid for each class; classes as in a dense head, one prior in each cell.
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='bbox_head.gfl_cls',
                teacher='bbox_head.gfl_cls',
                activation='sigmoid',
                num_classes=80,
                weight=1.0,
            )
        )
    )
)
