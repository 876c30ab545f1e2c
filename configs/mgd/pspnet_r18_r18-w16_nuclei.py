# MGD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
# The published weight; on this map it fits a student from scratch as well, see README.
model = dict(
    distill=dict(
        methods=dict(
            mgd=dict(
                type='mmkd.MGD',
                student='backbone',
                teacher='backbone',
                levels=(3,),
                mask_ratio=0.75,
                weight=2e-5,
            ),
            # The authors' second loss, on the class maps, with a fifth of its weight 3; see README.
            cwd=dict(
                type='mmkd.CWD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=4.0,
                weight=0.6,
            ),
        )
    )
)
