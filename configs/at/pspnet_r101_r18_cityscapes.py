# AT. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet_r101_r18_cityscapes.py'
model = dict(
    distill=dict(
        methods=dict(
            at=dict(
                type='mmkd.AT',
                student='backbone',
                teacher='backbone',
                levels=(0, 1, 2, 3),
                p=2.0,
                weight=10000.0,
            )
        )
    )
)
