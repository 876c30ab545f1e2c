# DKD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
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
            # Published T and beta of the smaller pairs of CIFAR-100; the warm-up is a twelfth of
            # the training, as there. The weight is ours: the loss starts at about 2.6 times the
            # cross-entropy.
            dkd=dict(
                type='mmkd.DKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                alpha=1.0,
                beta=2.0,
                weight=0.25,
                warmup_iters=53,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
