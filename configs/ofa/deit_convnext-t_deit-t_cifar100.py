# OFA-KD, CNN to transformer. ConvNeXt-T -> DeiT-T on CIFAR-100 at 224 pixels, 300 epochs.
_base_ = '../students/deit_t_cifar100.py'
# The stages end where the authors' do, after blocks 2, 4, 10 and 12; ε is ours.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/convnext_t_cifar100.py',
            checkpoint='work_dirs/teachers/convnext_t_cifar100/teacher.pth',
        ),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.layers.head',
                    stages=[f'backbone.layers.{i}' for i in (1, 3, 9, 11)],
                ),
                teacher='head.fc',
                eps=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
