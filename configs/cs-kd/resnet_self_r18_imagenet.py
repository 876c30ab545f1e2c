# CS-KD. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
model = dict(
    distill=dict(methods=dict(pairs=dict(type='mmkd.CSKD', student='head.fc', tau=4.0, weight=1.0)))
)
# As the authors': a step has the student's batch and a partner for each image.
train_dataloader = dict(batch_size=64, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
