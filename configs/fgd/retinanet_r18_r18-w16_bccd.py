# FGD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# The published weights of RetinaNet, all times 0.1, as this student starts from scratch; see
# README.
model = dict(
    distill=dict(
        methods=dict(
            fgd=dict(
                type='mmkd.FGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                alpha=1e-3,
                beta=5e-4,
                gamma=5e-4,
                lambda_=5e-6,
                tau=0.5,
                weight=0.1,
            )
        )
    )
)
