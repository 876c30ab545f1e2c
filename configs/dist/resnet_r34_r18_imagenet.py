# DIST. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
model = dict(
    distill=dict(
        methods=dict(
            dist=dict(type='mmkd.DIST', student='head.fc', teacher='head.fc', tau=1.0, weight=2.0)
        )
    )
)
