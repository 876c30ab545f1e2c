# USKD. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
model = dict(
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer3'),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            )
        )
    )
)
