# MasKD. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
# The authors' values. Their L1 loss on the raw boxes is left out.
# First: masks/faster-rcnn_r101_coco.py
model = dict(
    distill=dict(
        methods=dict(
            maskd=dict(
                type='mmkd.MasKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tokens='work_dirs/masks/faster-rcnn_r101_coco/iter_2000.pth',
                custom_mask_warmup=7330,
                adapter='conv',
                weight=1.0,
            )
        )
    )
)
