# DLB. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_cifar100.py'
model = dict(
    distill=dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0)))
)
# As the authors': a step has the student's batch and, augmented anew, the batch before.
train_dataloader = dict(batch_size=256, batch_sampler=dict(type='mmkd.PreviousBatchSampler'))
