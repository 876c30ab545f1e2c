# Logit KD. ResNet-28x4 -> ResNet-14x4 on CIFAR-100, the nearest to the usual
# ResNet-32x4 -> 8x4 that mmpretrain's blocks express; README.md says what differs.
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
            # mdistiller's T=4. It weighs cross-entropy 0.1 and KD 0.9; here the student keeps its
            # own loss as it is and the KD weight is ours (README.md: how to run theirs).
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
