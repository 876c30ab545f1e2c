# DLB. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
model = dict(
    distill=dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0)))
)
# Half of every batch repeats the batch before, so an epoch has twice as many steps.
train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler'))
