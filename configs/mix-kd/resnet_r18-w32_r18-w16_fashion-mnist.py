# MIX-KD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
# The authors' values for CIFAR-100.
model = dict(
    distill=dict(
        # The authors' code: of 64 images 57 are drawn with replacement, so 41 % are mixed.
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
