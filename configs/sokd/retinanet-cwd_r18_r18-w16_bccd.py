# SoKD-style CWD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../cwd/retinanet_r18_r18-w16_bccd.py'
# CWD compares distributions: the maps themselves still differ in scale, hence the small weight.
model = dict(
    distill=dict(
        methods=dict(
            cwd=dict(
                refine=dict(type='mmkd.DAFA', every=5),
                region=dict(type='mmkd.DAM', region_weight=0.1),
            )
        )
    )
)
