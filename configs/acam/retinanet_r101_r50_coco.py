# ACAM-KD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
# The reduction is ours: with the paper's the masks vanish.
model = dict(
    distill=dict(
        inherit=('neck', 'bbox_head'),
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
