# DIST. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
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
            # The values of mmrazor and of the authors' classification code for this pair.
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
