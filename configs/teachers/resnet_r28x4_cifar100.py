# ResNet-28x4 on CIFAR-100: ResNet-34's blocks (3, 4, 6) without its fourth stage; ResNet-32x4 has
# (5, 5, 5). Everything else, the schedule included, is the student's.
_base_ = '../students/resnet_r14x4_cifar100.py'
model = dict(backbone=dict(depth=34))
