# DKD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
# Published T and beta of the smaller pairs of CIFAR-100; the warm-up is a twelfth of the training,
# as there. The weight is ours: the loss starts at about 2.6 times the cross-entropy.
model = dict(
    distill=dict(
        methods=dict(
            dkd=dict(
                type='mmkd.DKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                alpha=1.0,
                beta=2.0,
                weight=dict(value=0.25, warmup_iters=53),
            )
        )
    )
)
