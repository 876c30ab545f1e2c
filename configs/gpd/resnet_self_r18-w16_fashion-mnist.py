# GPD without a trained teacher. ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # Ratio and kd_weight of the published ImageNet commands.
            gpd=dict(type='mmkd.GPD', student='head.fc', ratio=2, kd_weight=3.0),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
