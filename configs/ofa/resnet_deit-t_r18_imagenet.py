# OFA-KD, transformer to CNN. DeiT-T -> ResNet-18 on ImageNet, 100 epochs.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
# ε = 1.5 and weights of 1 are published for this pair; other teachers inherit them.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmpretrain::deit/deit-tiny_4xb256_in1k.py', checkpoint='auto'),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(logits='head.fc', stages=[f'backbone.layer{i}' for i in range(1, 5)]),
                teacher='head.layers.head',
                eps=1.5,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
