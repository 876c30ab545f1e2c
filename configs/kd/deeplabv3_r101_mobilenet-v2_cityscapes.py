# Feature mimic and pixel KD. DeepLabV3 R101 -> MobileNetV2 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3_r101_mobilenet-v2_cityscapes.py'
model = dict(
    distill=dict(
        methods=dict(
            # Before the classifier, 512 channels on both sides. The weight is ours.
            feature=dict(
                type='mmkd.FeatureMimic',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                normalize='channel',
                weight=1.0,
            ),
            # Pixel KD with the temperature and weight of CIRKD's re-implementation.
            logits=dict(
                type='mmkd.LogitKD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=1.0,
            ),
        )
    )
)
