# DIST of the class maps. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# The values of the authors' segmentation code.
model = dict(
    distill=dict(
        methods=dict(
            dist=dict(
                type='mmkd.DIST',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=1.0,
            )
        )
    )
)
