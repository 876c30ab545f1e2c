# DeepLabV3 R101 -> MobileNetV2 on Cityscapes, 512x1024, 80k iterations.
_base_ = 'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
            checkpoint='auto',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
