# SKD and pixel KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../kd/pspnet-logits_r18_r18-w16_nuclei.py'
# CIRKD's form: windows of 2x2 locations, a gradient through the norm, weight 10.
model = dict(
    distill=dict(
        methods=dict(
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                pool=2,
                detach_norm=False,
                weight=10.0,
            )
        )
    )
)
