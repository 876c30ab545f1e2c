# Logit distillation. Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_vit-t_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher='head.layers.head',
                tau=4.0,
                weight=1.0,
            )
        )
    )
)
