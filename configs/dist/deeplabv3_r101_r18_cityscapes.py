# DIST of the class maps. DeepLabV3 R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3_r101_r18_cityscapes.py'
# The authors' values; the auxiliary class maps count 0.4.
model = dict(
    distill=dict(
        methods=dict(
            dist=dict(
                type='mmkd.DIST',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=1.0,
            ),
            dist_auxiliary=dict(
                type='mmkd.DIST',
                student='auxiliary_head.conv_seg',
                teacher='auxiliary_head.conv_seg',
                tau=1.0,
                weight=0.4,
            ),
        )
    )
)
