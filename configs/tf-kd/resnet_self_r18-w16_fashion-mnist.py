# Teacher-free KD with a designed teacher. ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
# The authors' values for ResNet-18 on CIFAR-100.
model = dict(
    distill=dict(
        methods=dict(
            virtual=dict(
                type='mmkd.TeacherFreeKD', student='head.fc', alpha=0.1, tau=20.0, correct_prob=0.99
            )
        )
    )
)
