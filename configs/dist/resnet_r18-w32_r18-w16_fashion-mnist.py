# DIST. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
# The published values for ImageNet.
model = dict(
    distill=dict(
        methods=dict(
            dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=1.0, weight=2.0)
        )
    )
)
