# MGD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet_r101_r18_cityscapes.py'
# The authors' values, on the last stage (512 and 2048 channels). They train for 40k iterations on
# crops of 512x512, half as many cells as here.
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
            # The authors' second loss, on the class maps.
            cwd=dict(
                type='mmkd.CWD',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=4.0,
                weight=3.0,
            ),
        )
    )
)
