# Progressive self-distillation. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        methods=dict(
            past=dict(type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=1000, alpha=0.8)
        )
    )
)
