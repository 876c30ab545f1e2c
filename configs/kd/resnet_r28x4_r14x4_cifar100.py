# Logit KD. ResNet-28x4 -> ResNet-14x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r28x4_r14x4_cifar100.py'
# mdistiller's T=4. It weighs cross-entropy 0.1 and KD 0.9; here the student keeps its own loss as
# it is and the KD weight is ours (README.md: how to run theirs).
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0, weight=1.0
            )
        )
    )
)
