# Feature mimicking. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
model = dict(
    distill=dict(
        methods=dict(
            feature=dict(
                type='mmkd.FeatureMimic',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                normalize='channel',
                weight=1.0,
            )
        )
    )
)
