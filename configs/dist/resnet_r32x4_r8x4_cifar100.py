# DIST. ResNet-32x4 -> ResNet-8x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r32x4_r8x4_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=4.0, weight=2.0))
    )
)
