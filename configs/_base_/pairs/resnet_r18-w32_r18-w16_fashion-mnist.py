# ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../../students/resnet_r18-w16_fashion-mnist.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r18-w32_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
