# ACAM-KD. DeepLabV3 R101 -> PSPNet R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
# On the maps of logits: one mask for each class. The reduction is ours: with the paper's and with
# MasKD's the masks vanish.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
            checkpoint='auto',
        ),
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=19,
                reduction='weighted_mean',
                weight=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
