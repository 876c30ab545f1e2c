# PKD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# Published for detectors: 6. A student from scratch starts uncorrelated; see README.
model = dict(
    distill=dict(
        methods=dict(
            pkd=dict(
                type='mmkd.PKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=2.0,
            )
        )
    )
)
