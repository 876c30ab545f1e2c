# DLB. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(methods=dict(last=dict(type='mmkd.DLB', student='head.fc', tau=3.0, weight=1.0)))
)
# Half of every batch repeats the batch before; half of the images are new in each epoch, so that an
# epoch has as many images as the student's.
train_dataloader = dict(batch_sampler=dict(type='mmkd.PreviousBatchSampler', new_per_epoch='half'))
