# ACAM-KD. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
# The largest level (200x336 cells) is pooled by 4 in the attention; pool=1 makes it exact. The
# reduction is ours: with the paper's the masks vanish.
model = dict(
    distill=dict(
        inherit=('neck', 'rpn_head', 'roi_head'),
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                num_masks=6,
                reduction='weighted_mean',
                weight=1.0,
            )
        ),
    )
)
