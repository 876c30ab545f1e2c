# GPD with logit KD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
# Ratio, kd_weight and smoothing of the published ImageNet commands; logit KD as in configs/kd.
model = dict(
    distill=dict(
        methods=dict(
            gpd=dict(
                type='mmkd.GPD',
                student='head.fc',
                ratio=2,
                kd_weight=3.0,
                smoothing=0.1,
                static=dict(
                    type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0, weight=1.0
                ),
            )
        )
    )
)
