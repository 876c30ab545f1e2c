# HARD, affine transforms. ResNet-28x4 -> ResNet-14x4 on CIFAR-100, 240 epochs.
_base_ = '../students/resnet_r14x4_cifar100.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r28x4_cifar100.py',
            checkpoint='work_dirs/teachers/resnet_r28x4_cifar100/teacher.pth',
        ),
        # Everything here is ours: the paper's settings are not known to us.
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.AffineAugmentor'),
            student='head.fc',
            teacher='head.fc',
            tau=4.0,
            prob=0.5,
            thresholds=(2.0, 4.0),
            interval=4,
        ),
        methods=dict(
            # As in ../kd/resnet_r28x4_r14x4_cifar100.py.
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
