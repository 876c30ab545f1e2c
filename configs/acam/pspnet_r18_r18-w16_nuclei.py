# ACAM-KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# On the maps of logits: one mask for each class. Reduction and weight are ours: with the paper's
# reduction the masks vanish, and a weight of 1 is more than 20 times the task loss here.
model = dict(
    distill=dict(
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=3,
                reduction='weighted_mean',
                weight=0.1,
            )
        )
    )
)
