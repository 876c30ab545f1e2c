# AT. ResNet-28x4 -> ResNet-14x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r28x4_r14x4_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(
            at=dict(
                type='mmkd.AT',
                student=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
                teacher=['backbone.layer1', 'backbone.layer2', 'backbone.layer3'],
                p=2.0,
                weight=1000.0,
            )
        )
    )
)
