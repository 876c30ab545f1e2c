# GPD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs, with logit KD from the trained teacher.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
# Ratio and kd_weight are published, with DKD in place of plain logit KD.
model = dict(
    distill=dict(
        methods=dict(
            gpd=dict(
                type='mmkd.GPD',
                student='head.fc',
                ratio=2,
                kd_weight=3.0,
                static=dict(
                    type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=1.0, weight=1.0
                ),
            )
        )
    )
)
