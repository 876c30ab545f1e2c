# WRN-40-2 -> WRN-16-2 on CIFAR-100.
_base_ = '../../students/wrn_16-2_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/wrn_40-2_cifar100.py',
            checkpoint='work_dirs/teachers/wrn_40-2_cifar100/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
