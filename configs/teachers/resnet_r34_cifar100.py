# ResNet-34 on CIFAR-100. Everything but the depth, the schedule included, is the student's.
_base_ = '../students/resnet_r18_cifar100.py'
model = dict(backbone=dict(depth=34))
