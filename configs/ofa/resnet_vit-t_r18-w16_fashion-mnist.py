# OFA-KD, transformer to CNN. Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_vit-t_r18-w16_fashion-mnist.py'
# The published ε of CIFAR-100.
model = dict(
    distill=dict(
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(logits='head.fc', stages=['backbone.layer1', 'backbone.layer2']),
                teacher='head.layers.head',
                eps=1.0,
            )
        )
    )
)
