# Progressive self-distillation. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_cifar100.py'
# The paper's α_T; its schedule has 300 epochs.
model = dict(
    distill=dict(
        methods=dict(
            past=dict(
                type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=50000, alpha=0.8
            )
        )
    )
)
