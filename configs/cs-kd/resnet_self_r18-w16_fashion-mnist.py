# CS-KD. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
# The authors' temperature and weight.
model = dict(
    distill=dict(methods=dict(pairs=dict(type='mmkd.CSKD', student='head.fc', tau=4.0, weight=1.0)))
)
# As the authors': a step has the student's batch and a partner for each image.
train_dataloader = dict(batch_size=128, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
