# DIST. ResNet-56 -> ResNet-20 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r56_r20_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=4.0, weight=2.0))
    )
)
