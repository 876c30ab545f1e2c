# ResNet-18 for CIFAR (3x3 stem, no max pooling) on CIFAR-100: mmpretrain's recipe of its ResNet-50,
# 200 epochs with 128 images per step, here on one GPU.
_base_ = 'mmpretrain::resnet/resnet50_8xb16_cifar100.py'
model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
train_dataloader = dict(batch_size=128)
