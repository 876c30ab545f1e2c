# GPD without a trained teacher. ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
# Ratio, kd_weight and smoothing of the published ImageNet commands.
model = dict(
    distill=dict(
        methods=dict(
            gpd=dict(type='mmkd.GPD', student='head.fc', ratio=2, kd_weight=3.0, smoothing=0.1)
        )
    )
)
