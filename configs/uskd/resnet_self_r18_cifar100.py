# USKD. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer3'),
                alpha=0.1,
                beta=0.1,
                mu=0.1,
            )
        )
    )
)
