# CosPress with a map loss of our own. Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_vit-t_r18-w16_fashion-mnist.py'
# The weight is ours, too.
model = dict(
    distill=dict(
        methods=dict(
            cospress=dict(
                type='mmkd.CosPress',
                student=dict(module='head.fc', source='input'),
                teacher=dict(module='head.layers.head', source='input'),
                weight=1.0,
            )
        )
    )
)
