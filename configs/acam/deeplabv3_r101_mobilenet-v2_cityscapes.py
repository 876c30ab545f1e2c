# ACAM-KD. DeepLabV3 R101 -> MobileNetV2 on Cityscapes, 512x1024, 80k iterations.
_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
            checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/deeplabv3/'
            'deeplabv3_r101-d8_512x1024_80k_cityscapes/'
            'deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899.pth',
        ),
        methods=dict(
            # On the maps of logits: one mask for each class. The reduction is ours: with the paper's
            # and with MasKD's the masks vanish.
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=19,
                reduction='weighted_mean',
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
