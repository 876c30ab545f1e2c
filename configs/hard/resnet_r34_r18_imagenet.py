# HARD, a learned choice of transforms. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
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
        # Everything here is ours: the paper's settings are not known to us.
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.MixtureAugmentor'),
            student='head.fc',
            teacher='head.fc',
            tau=1.0,
            prob=0.5,
            thresholds=(0.5, 1.0),
            interval=4,
        ),
        methods=dict(
            # As in ../kd/resnet_r34_r18_imagenet.py.
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher='head.fc',
                tau=1.0,
                weight=3.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
