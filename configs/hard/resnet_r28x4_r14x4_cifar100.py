# HARD, affine transforms. ResNet-28x4 -> ResNet-14x4 on CIFAR-100, 240 epochs.
_base_ = '../kd/resnet_r28x4_r14x4_cifar100.py'
# All values are ours: the paper's settings are not known to us.
model = dict(
    distill=dict(
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.AffineAugmentor'),
            student='head.fc',
            teacher='head.fc',
            tau=4.0,
            prob=0.5,
            thresholds=(2.0, 4.0),
            interval=4,
        )
    )
)
