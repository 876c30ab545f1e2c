# DKD. ResNet-32x4 -> ResNet-8x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r32x4_r8x4_cifar100.py'
# The weight rises in each of 20 epochs of 782 iterations.
model = dict(
    distill=dict(
        methods=dict(
            dkd=dict(
                type='mmkd.DKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                alpha=1.0,
                beta=8.0,
                weight=dict(value=1.0, warmup_iters=15640, warmup_step=782),
            )
        )
    )
)
