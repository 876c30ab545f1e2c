# DIST. ResNet-28x4 -> ResNet-14x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r28x4_r14x4_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(
            dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=4.0, weight=2.0)
        )
    )
)
