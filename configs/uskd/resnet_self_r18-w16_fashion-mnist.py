# USKD. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The authors' weights for CIFAR-100.
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer1'),
                alpha=0.1,
                beta=0.1,
                mu=0.1,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
