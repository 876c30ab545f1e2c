# Teacher-free KD with a designed teacher. ResNet-18 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_self_r18_cifar100.py'
model = dict(
    distill=dict(
        methods=dict(
            virtual=dict(
                type='mmkd.TeacherFreeKD', student='head.fc', alpha=0.1, tau=20.0, correct_prob=0.99
            )
        )
    )
)
