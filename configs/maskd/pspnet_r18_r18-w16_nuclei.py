# MasKD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# The published factor, here on features: there are only three class maps.
# First: masks/pspnet_r18_nuclei.py
model = dict(
    distill=dict(
        methods=dict(
            maskd=dict(
                type='mmkd.MasKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                tokens='work_dirs/masks/pspnet_r18_nuclei/iter_200.pth',
                eps=1e-5,
                weight=0.5,
            )
        )
    )
)
