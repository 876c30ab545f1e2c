# FitNet, first stage: the student's first two stages learn the teacher's maps of stride 2.
# ResNet-28x4 -> ResNet-14x4 on CIFAR-100. Weight and regressor are mdistiller's, which learns the
# same hint beside the cross-entropy.
_base_ = '../students/resnet-hint_r14x4_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r28x4_cifar100.py',
            checkpoint='work_dirs/teachers/resnet_r28x4_cifar100/teacher.pth',
        ),
        methods=dict(
            hint=dict(
                type='mmkd.FeatureMimic',
                student='backbone.layer2',
                teacher='backbone.layer2',
                adapter='regressor',
                weight=100.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
