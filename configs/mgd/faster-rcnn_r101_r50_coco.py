# MGD. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
# The authors' values of two-stage detectors; their teacher is a Cascade Mask R-CNN.
model = dict(
    distill=dict(
        inherit=('neck', 'rpn_head', 'roi_head'),
        methods=dict(
            mgd=dict(
                type='mmkd.MGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3),
                mask_ratio=0.45,
                weight=5e-7,
            )
        ),
    )
)
