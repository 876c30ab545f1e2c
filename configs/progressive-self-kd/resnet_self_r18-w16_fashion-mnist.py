# Progressive self-distillation. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            past=dict(
                type='mmkd.ProgressiveSelfKD', student='head.fc', num_samples=1000, alpha=0.8
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
