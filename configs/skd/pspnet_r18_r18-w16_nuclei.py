# SKD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
model = dict(
    distill=dict(
        methods=dict(
            # 2x2 pooling and weight 10 as published.
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=10.0,
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
