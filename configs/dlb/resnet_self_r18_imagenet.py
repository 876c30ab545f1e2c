# DLB. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
model = dict(
    distill=dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0)))
)
# As the authors': a step has the student's batch and, augmented anew, the batch before.
train_dataloader = dict(batch_size=64, batch_sampler=dict(type='mmkd.PreviousBatchSampler'))
