# CWD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet_r101_r18_cityscapes.py'
model = dict(
    distill=dict(
        methods=dict(
            cwd=dict(
                type='mmkd.CWD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                weight=5.0,
            )
        )
    )
)
