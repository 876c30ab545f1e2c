# IFVD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../kd/pspnet-logits_r18_r18-w16_nuclei.py'
# Weight 20 is CIRKD's; the authors have 200.
model = dict(
    distill=dict(
        methods=dict(
            ifvd=dict(
                type='mmkd.IFVD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=20.0,
            )
        )
    )
)
