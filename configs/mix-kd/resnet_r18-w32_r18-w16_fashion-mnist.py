# MIX-KD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
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
        # The authors' code: of 64 images 57 are drawn with replacement, so 41 % are mixed.
        mixer=dict(type='mmkd.MixUp', partial=0.9, partial_mode='with_replacement'),
        methods=dict(
            # The authors' values for CIFAR-100.
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
