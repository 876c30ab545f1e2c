# DKD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
# The published values for this pair; without a warm-up.
model = dict(
    distill=dict(
        methods=dict(
            dkd=dict(
                type='mmkd.DKD',
                student='head.fc',
                teacher='head.fc',
                tau=1.0,
                alpha=1.0,
                beta=0.5,
                weight=1.0,
            )
        )
    )
)
