# HARD, a learned choice of transforms. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../kd/resnet_r34_r18_imagenet.py'
# All values are ours: the paper's settings are not known to us.
model = dict(
    distill=dict(
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.MixtureAugmentor'),
            student='head.fc',
            teacher='head.fc',
            tau=1.0,
            prob=0.5,
            thresholds=(0.5, 1.0),
            interval=4,
        )
    )
)
