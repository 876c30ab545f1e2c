# SoKD-style feature mimicking. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../kd/retinanet-mimic_r18_r18-w16_bccd.py'
# Half of the weight without plug-ins, as the region counts as much again.
model = dict(
    distill=dict(
        methods=dict(
            feature=dict(
                weight=0.5, refine=dict(type='mmkd.DAFA', every=5), region=dict(type='mmkd.DAM')
            )
        )
    )
)
