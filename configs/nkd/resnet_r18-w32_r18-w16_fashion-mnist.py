# NKD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r18-w32_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth',
        ),
        methods=dict(
            # The authors' values for ImageNet; with those for CIFAR-100 the loss would be 30 times
            # the cross-entropy at first.
            nkd=dict(
                type='mmkd.NKD',
                student='head.fc',
                teacher='head.fc',
                tau=1.0,
                gamma=1.5,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
