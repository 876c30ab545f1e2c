# MCMI: fine-tunes the teacher ResNet w32 on all 55 000 training images of Fashion-MNIST.
_base_ = '../teachers/resnet-mcmi_r18-w32_fashion-mnist.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(methods=dict(mcmi=dict(type='mmkd.MCMI', student='head.fc', weight=0.15))),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
