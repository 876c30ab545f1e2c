# SKD and pixel KD. DeepLabV3 R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3-pixel_r101_r18_cityscapes.py'
# 2x2 pooling and weight 10 as published.
model = dict(
    distill=dict(
        methods=dict(
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=10.0,
            )
        )
    )
)
