# IFVD and pixel KD. DeepLabV3 R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3-pixel_r101_r18_cityscapes.py'
# Weight 20 is CIRKD's; the authors have 200.
model = dict(
    distill=dict(
        methods=dict(
            ifvd=dict(
                type='mmkd.IFVD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=20.0,
            )
        )
    )
)
