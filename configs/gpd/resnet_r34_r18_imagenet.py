# GPD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs, with logit KD from the trained teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmpretrain::resnet/resnet34_8xb32_in1k.py',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/resnet/'
            'resnet34_8xb32_in1k_20210831-f257d4e6.pth',
        ),
        methods=dict(
            # Ratio and kd_weight are published, with DKD in place of plain logit KD.
            gpd=dict(
                type='mmkd.GPD',
                student='head.fc',
                ratio=2,
                kd_weight=3.0,
                static=dict(
                    type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=1.0, weight=1.0
                ),
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
