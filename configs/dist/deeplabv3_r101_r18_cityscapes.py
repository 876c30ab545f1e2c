# DIST of the class maps. DeepLabV3 R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = 'mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'
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
            # The values of the authors' segmentation code.
            dist=dict(
                type='mmkd.DIST',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                beta=1.0,
                gamma=1.0,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
