# OFA-KD, MLP to CNN. Mixer-B/16 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/mlp-mixer/'
            'mixer-base-p16_3rdparty_64xb64_in1k_20211124-1377e3e0.pth',
        ),
        methods=dict(
            # ε is that of DeiT-T -> ResNet-18, where it is published.
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.fc',
                    stages=[
                        'backbone.layer1',
                        'backbone.layer2',
                        'backbone.layer3',
                        'backbone.layer4',
                    ],
                ),
                teacher='head.fc',
                eps=1.5,
            ),
        ),
        # An MLP-Mixer takes images of one size.
        probe_size=(224, 224),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
