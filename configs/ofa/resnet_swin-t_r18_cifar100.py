# OFA-KD, transformer to CNN. Swin-T -> ResNet-18 on CIFAR-100 at 224 pixels, 300 epochs.
_base_ = '../students/resnet_r18-224px_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/swin_t_cifar100.py',
            checkpoint='work_dirs/teachers/swin_t_cifar100/teacher.pth',
        ),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(logits='head.fc', stages=[f'backbone.layer{i}' for i in range(1, 5)]),
                teacher='head.fc',
                eps=1.0,
            )
        ),
        # The windows of a Swin want maps that are no smaller.
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
