# DLB. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0)))
)
# As the authors': a step has the student's batch and, augmented anew, the batch before.
train_dataloader = dict(batch_size=128, batch_sampler=dict(type='mmkd.PreviousBatchSampler'))
