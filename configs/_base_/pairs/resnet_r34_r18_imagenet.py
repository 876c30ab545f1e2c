# ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(config='mmpretrain::resnet/resnet34_8xb32_in1k.py', checkpoint='auto')
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
