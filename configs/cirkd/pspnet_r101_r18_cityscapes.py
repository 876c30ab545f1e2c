# CIRKD and pixel KD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet_r101_r18_cityscapes.py'
model = dict(
    distill=dict(
        methods=dict(
            # Queues, samples and weights as published.
            cirkd=dict(
                type='mmkd.CIRKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
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
