# DeepLabV3 R101 -> R18 on Cityscapes with the pixel KD that segmentation methods are published beside.
_base_ = './deeplabv3_r101_r18_cityscapes.py'
# Temperature and weight of CIRKD's re-implementation.
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=1.0,
            )
        )
    )
)
