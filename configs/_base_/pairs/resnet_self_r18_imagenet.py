# ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
model = dict(type='mmkd.Distilled', student=_base_.model.type)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
