# Feature mimicking. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        methods=dict(
            feature=dict(
                type='mmkd.FeatureMimic',
                student='backbone',
                teacher='backbone',
                normalize='channel',
                weight=1.0,
            )
        )
    )
)
