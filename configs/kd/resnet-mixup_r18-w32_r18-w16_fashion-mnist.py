# Features and logits on images mixed by MixUp. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = './resnet-mimic_r18-w32_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        mixer=dict(type='mmkd.MixUp', prob=0.5),
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0, weight=1.0
            )
        ),
    )
)
