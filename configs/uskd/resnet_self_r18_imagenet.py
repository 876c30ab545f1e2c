# USKD. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The authors' weights for ImageNet.
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer3'),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
