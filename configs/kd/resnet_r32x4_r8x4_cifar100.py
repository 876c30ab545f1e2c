# Logit KD. ResNet-32x4 -> ResNet-8x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r32x4_r8x4_cifar100.py'
# mdistiller weighs the cross-entropy 0.1 and KD 0.9.
model = dict(
    head=dict(loss=dict(loss_weight=0.1)),
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0, weight=0.9
            )
        )
    ),
)
