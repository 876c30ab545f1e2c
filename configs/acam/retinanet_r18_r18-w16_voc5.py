# ACAM-KD. RetinaNet R18 -> quarter-width R18 on VOC-5.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_voc5.py'
# The values of the BCCD config, not tuned for this set.
model = dict(
    distill=dict(
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                num_masks=6,
                reduction='weighted_mean',
                weight=0.1,
            )
        )
    )
)
