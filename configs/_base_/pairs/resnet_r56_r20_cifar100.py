# ResNet-56 -> ResNet-20 on CIFAR-100.
_base_ = '../../students/resnet_r20_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r56_cifar100.py',
            checkpoint='work_dirs/teachers/resnet_r56_cifar100/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
