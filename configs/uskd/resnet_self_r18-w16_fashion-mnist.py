# USKD. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
# The authors' weights for CIFAR-100.
model = dict(
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer1'),
                alpha=0.1,
                beta=0.1,
                mu=0.1,
            )
        )
    )
)
