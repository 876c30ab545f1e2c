# Teacher-free distillation with a designed teacher. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../students/resnet_r18_cifar100.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The authors' values for ResNet-18 on CIFAR-100.
            virtual=dict(
                type='mmkd.TeacherFreeKD', student='head.fc', alpha=0.1, tau=20.0, correct_prob=0.99
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
