# MGD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# A quarter of the published weight: a student from scratch starts farther away; see README.
model = dict(
    distill=dict(
        methods=dict(
            mgd=dict(
                type='mmkd.MGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                mask_ratio=0.65,
                weight=5e-6,
            )
        )
    )
)
