# NKD. ResNet-56 -> ResNet-20 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r56_r20_cifar100.py'
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
