# DLB. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0),
        ),
    ),
)
# Half of every batch are the images of the batch before, so an epoch has twice as many steps.
train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler'))
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
