# MIX-KD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
# The authors' values for CIFAR-100; there are none for ImageNet.
model = dict(
    distill=dict(
        # As in the authors' code for CIFAR-100, where the same image may be drawn again.
        mixer=dict(type='mmkd.MixUp', partial=0.9, partial_mode='with_replacement'),
        methods=dict(
            mixkd=dict(
                type='mmkd.MixKD',
                student='head.fc',
                teacher='head.fc',
                alpha=0.9,
                gamma=0.1,
                weight=1.0,
            )
        ),
    )
)
