# Feature mimic and pixel KD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet-pixel_r101_r18_cityscapes.py'
# Before the classifier, 512 and 128 channels: aligned by a 1x1 conv. The weight is ours.
model = dict(
    distill=dict(
        methods=dict(
            feature=dict(
                type='mmkd.FeatureMimic',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                normalize='channel',
                weight=1.0,
            )
        )
    )
)
