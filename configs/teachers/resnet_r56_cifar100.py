# ResNet-56 on CIFAR-100, 0.86 M parameters, with the student's schedule.
_base_ = '../students/resnet_r20_cifar100.py'
model = dict(backbone=dict(depth='56'))
