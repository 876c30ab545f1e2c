# ACAM-KD. PSPNet R18 -> half-width R18 on IDD Lite.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_iddlite.py'
# On the maps of logits: one mask for each class. The values of the nuclei config, not tuned for this
# set.
model = dict(
    distill=dict(
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=7,
                reduction='weighted_mean',
                weight=0.1,
            )
        )
    )
)
