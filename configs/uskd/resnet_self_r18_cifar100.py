# USKD. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../students/resnet_r18_cifar100.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The authors' weights for CIFAR-100.
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer3'),
                alpha=0.1,
                beta=0.1,
                mu=0.1,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
