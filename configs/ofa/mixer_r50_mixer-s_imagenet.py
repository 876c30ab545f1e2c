# OFA-KD, CNN to MLP. ResNet-50 -> Mixer-S/16 on ImageNet, 300 epochs.
_base_ = '../students/mixer_s-p16_imagenet.py'
# Four stages of two blocks; this and ε are ours.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmpretrain::resnet/resnet50_8xb32_in1k.py', checkpoint='auto'),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.fc', stages=[f'backbone.layers.{i}' for i in (1, 3, 5, 7)]
                ),
                teacher='head.fc',
                eps=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
