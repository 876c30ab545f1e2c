# AT. ResNet-28x4 -> ResNet-14x4 on CIFAR-100.
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
            # mdistiller's weight, on all three stages.
            at=dict(
                type='mmkd.AT',
                student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
                teacher=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
                p=2.0,
                weight=1000.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
