# ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../../students/resnet_r18_cifar100.py'
model = dict(type='mmkd.Distilled', student=_base_.model.type)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
