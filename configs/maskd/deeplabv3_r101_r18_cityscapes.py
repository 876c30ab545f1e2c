# MasKD. DeepLabV3 R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3_r101_r18_cityscapes.py'
# The authors' form for segmentation: class maps, no token weights, no student masks, factor 0.5.
# The auxiliary class maps count 0.4 of it, with the same tokens.
# First: masks/deeplabv3_r101_cityscapes.py
model = dict(
    distill=dict(
        methods=dict(
            maskd=dict(
                type='mmkd.MasKD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tokens='work_dirs/masks/deeplabv3_r101_cityscapes/iter_10000.pth',
                eps=1e-5,
                weight=0.5,
            ),
            maskd_auxiliary=dict(
                type='mmkd.MasKD',
                student='auxiliary_head.conv_seg',
                teacher='auxiliary_head.conv_seg',
                tokens='work_dirs/masks/deeplabv3_r101_cityscapes/iter_10000.pth',
                eps=1e-5,
                weight=0.2,
            ),
        )
    )
)
