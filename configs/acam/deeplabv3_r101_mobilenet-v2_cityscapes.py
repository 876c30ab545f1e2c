# ACAM-KD. DeepLabV3 R101 -> MobileNetV2 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3_r101_mobilenet-v2_cityscapes.py'
# On the maps of logits: one mask for each class. The reduction is ours: with the paper's
# the masks vanish.
model = dict(
    distill=dict(
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=19,
                reduction='weighted_mean',
                weight=1.0,
            )
        )
    )
)
