# MCMI: fine-tunes the teacher ResNet-28x4 on CIFAR-100. The weight is that of ResNet-56 in the
# authors' scripts.
_base_ = '../teachers/resnet-mcmi_r28x4_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(methods=dict(mcmi=dict(type='mmkd.MCMI', student='head.fc', weight=0.15))),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
