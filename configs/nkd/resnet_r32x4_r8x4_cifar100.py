# NKD. ResNet-32x4 -> ResNet-8x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r32x4_r8x4_cifar100.py'
# The authors' values for ResNet-34 -> ResNet-18.
model = dict(
    distill=dict(
        methods=dict(
            nkd=dict(
                type='mmkd.NKD',
                student='head.fc',
                teacher='head.fc',
                tau=3.0,
                gamma=3.5,
                weight=1.0,
            )
        )
    )
)
