# CIRKD and pixel KD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet-pixel_r101_r18_cityscapes.py'
model = dict(
    distill=dict(
        methods=dict(
            cirkd=dict(
                type='mmkd.CIRKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=1.0,
            )
        )
    )
)
