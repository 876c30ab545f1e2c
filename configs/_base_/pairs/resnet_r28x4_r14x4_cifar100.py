# ResNet-28x4 -> ResNet-14x4 on CIFAR-100: see configs/pskd/README.md for the usual 32x4 -> 8x4.
_base_ = '../../students/resnet_r14x4_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r28x4_cifar100.py',
            checkpoint='work_dirs/teachers/resnet_r28x4_cifar100/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
