# MasKD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# Published: 7. Raw maps are compared through untrained 1x1 convolutions; see README.
# First: masks/retinanet_r18_bccd.py
model = dict(
    distill=dict(
        methods=dict(
            maskd=dict(
                type='mmkd.MasKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tokens='work_dirs/masks/retinanet_r18_bccd/iter_200.pth',
                custom_mask_warmup=50,
                weight=0.15,
            )
        )
    )
)
