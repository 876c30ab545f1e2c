# ResNet-32x4 -> ResNet-8x4 on CIFAR-100.
_base_ = '../../students/resnet_r8x4_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r32x4_cifar100.py',
            checkpoint='work_dirs/teachers/resnet_r32x4_cifar100/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
