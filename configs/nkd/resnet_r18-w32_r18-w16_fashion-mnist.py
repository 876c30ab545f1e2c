# NKD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
# The authors' values for ImageNet; with those for CIFAR-100 the loss would be 30 times the
# cross-entropy at first.
model = dict(
    distill=dict(
        methods=dict(
            nkd=dict(
                type='mmkd.NKD',
                student='head.fc',
                teacher='head.fc',
                tau=1.0,
                gamma=1.5,
                weight=1.0,
            )
        )
    )
)
