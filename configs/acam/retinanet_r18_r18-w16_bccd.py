# ACAM-KD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# Reduction and weight are ours: with the paper's reduction the masks vanish, and a
# weight of 1 is more than 20 times the task loss here.
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
