# MIX-KD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
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
        # As in the authors' code for CIFAR-100, where the same image may be drawn again.
        mixer=dict(type='mmkd.MixUp', partial=0.9, partial_mode='with_replacement'),
        methods=dict(
            # The authors' values for CIFAR-100; there are none for ImageNet.
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
