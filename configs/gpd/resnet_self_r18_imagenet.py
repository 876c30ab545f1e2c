# GPD without a trained teacher. ResNet-18 on ImageNet, 100 epochs.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # Published: twice the width, weight 3.
            gpd=dict(type='mmkd.GPD', student='head.fc', ratio=2, kd_weight=3.0),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
