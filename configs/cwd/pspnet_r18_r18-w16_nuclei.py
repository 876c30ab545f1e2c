# CWD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# A fifth of the published weight on class maps: this student starts from scratch; see README.
model = dict(
    distill=dict(
        methods=dict(
            cwd=dict(
                type='mmkd.CWD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=1.0,
            )
        )
    )
)
