# DIST. WRN-40-2 -> WRN-16-2 on CIFAR-100.
_base_ = '../_base_/pairs/wrn_40-2_16-2_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=4.0, weight=2.0))
    )
)
