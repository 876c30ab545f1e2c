# OFA-KD, CNN to transformer. ResNet-50 -> DeiT-T on ImageNet, 300 epochs.
_base_ = 'mmpretrain::deit/deit-tiny_4xb256_in1k.py'
# The stages end where the authors' do, after blocks 2, 4, 10 and 12; ε is ours.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmpretrain::resnet/resnet50_8xb32_in1k.py', checkpoint='auto'),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.layers.head',
                    stages=[f'backbone.layers.{i}' for i in (1, 3, 9, 11)],
                ),
                teacher='head.fc',
                eps=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
