# DKD. WRN-40-2 -> WRN-16-2 on CIFAR-100.
_base_ = '../_base_/pairs/wrn_40-2_16-2_cifar100.py'
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
                beta=6.0,
                weight=dict(value=1.0, warmup_iters=15640, warmup_step=782),
            )
        )
    )
)
