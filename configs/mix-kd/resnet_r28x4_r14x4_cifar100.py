# MIX-KD. ResNet-28x4 -> ResNet-14x4 on CIFAR-100, the nearest to the usual
# ResNet-32x4 -> 8x4 that mmpretrain's blocks express; configs/pskd/README.md says what differs.
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
        # The authors' code: of 64 images 57 are drawn with replacement, so 41 % are mixed.
        mixer=dict(type='mmkd.MixUp', partial=0.9, partial_mode='with_replacement'),
        methods=dict(
            # The authors' values.
            mixkd=dict(
                type='mmkd.MixKD',
                student='head.fc',
                teacher='head.fc',
                alpha=0.9,
                gamma=0.1,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
