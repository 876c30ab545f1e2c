# Progressive self-distillation. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../students/resnet_r18_cifar100.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The paper's α_T; its schedule has 300 epochs.
            past=dict(
                type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=50000, alpha=0.8
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
