# ResNet-32x4 on CIFAR-100, 7.43 M parameters, with the student's schedule.
_base_ = '../students/resnet_r8x4_cifar100.py'
model = dict(backbone=dict(depth='32x4'))
