# PKD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# Published: 6. A student from scratch starts uncorrelated, so each level counts 1; see README.
model = dict(
    distill=dict(
        methods=dict(
            pkd=dict(
                type='mmkd.PKD', student='neck', teacher='neck', levels=(0, 1, 2, 3, 4), weight=0.5
            )
        )
    )
)
