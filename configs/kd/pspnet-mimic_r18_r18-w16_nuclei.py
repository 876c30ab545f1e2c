# Feature mimicking. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
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
