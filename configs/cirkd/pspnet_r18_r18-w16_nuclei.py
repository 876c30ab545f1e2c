# CIRKD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
model = dict(
    distill=dict(
        methods=dict(
            # Queues of the size of the set; weights as published.
            cirkd=dict(
                type='mmkd.CIRKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                pixel_queue=2000,
                region_queue=200,
                pixel_samples=1024,
                region_samples=256,
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
