# OFA-KD, transformer to CNN. Swin-T -> ResNet-18 on ImageNet, 100 epochs.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
# ε is that of DeiT-T -> ResNet-18, where it is published.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', checkpoint='auto'
        ),
        methods=dict(
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
            )
        ),
        # The windows of a Swin want maps that are no smaller.
        probe_size=(224, 224),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
