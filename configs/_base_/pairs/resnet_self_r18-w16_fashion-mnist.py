# ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../../students/resnet_r18-w16_fashion-mnist.py'
model = dict(type='mmkd.Distilled', student=_base_.model.type)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
