# DIST. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
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
            # The published values for ImageNet.
            dist=dict(
                type='mmkd.DIST',
                student='head.fc',
                teacher='head.fc',
                tau=1.0,
                beta=1.0,
                gamma=1.0,
                weight=2.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
