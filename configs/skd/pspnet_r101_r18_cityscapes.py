# SKD and pixel KD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet-pixel_r101_r18_cityscapes.py'
# CIRKD's form: windows of 2x2 locations, a gradient through the norm, weight 10.
model = dict(
    distill=dict(
        methods=dict(
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                pool=2,
                detach_norm=False,
                weight=10.0,
            )
        )
    )
)
