# PKD. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
model = dict(
    distill=dict(
        methods=dict(
            pkd=dict(
                type='mmkd.PKD', student='neck', teacher='neck', levels=(0, 1, 2, 3), weight=6.0
            )
        )
    )
)
