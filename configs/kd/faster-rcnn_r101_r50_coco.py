# Feature mimic. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
# Standardized maps and weight 6 as in PKD.
model = dict(
    distill=dict(
        inherit=('neck', 'rpn_head', 'roi_head'),
        methods=dict(
            feature=dict(
                type='mmkd.FeatureMimic',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3),
                normalize='channel',
                weight=6.0,
            )
        ),
    )
)
