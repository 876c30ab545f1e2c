# SKD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../kd/pspnet-logits_r18_r18-w16_nuclei.py'
# 2x2 pooling and weight 10 as published.
model = dict(
    distill=dict(
        methods=dict(
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=10.0,
            )
        )
    )
)
