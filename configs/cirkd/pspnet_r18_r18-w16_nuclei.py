# CIRKD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../kd/pspnet-logits_r18_r18-w16_nuclei.py'
# Queues of the size of the set; the authors' weights.
model = dict(
    distill=dict(
        methods=dict(
            cirkd=dict(
                type='mmkd.CIRKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                pixel_queue=2000,
                region_queue=200,
                pixel_samples=1024,
                region_samples=256,
                weight=1.0,
            )
        )
    )
)
