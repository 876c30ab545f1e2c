# DKD. ResNet-28x4 -> ResNet-14x4 on CIFAR-100, the nearest to the usual
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
        methods=dict(
            # The published values for ResNet-32x4 -> 8x4. The warm-up is 20 epochs of 782
            # iterations.
            dkd=dict(
                type='mmkd.DKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                alpha=1.0,
                beta=8.0,
                weight=1.0,
                warmup_iters=15640,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
