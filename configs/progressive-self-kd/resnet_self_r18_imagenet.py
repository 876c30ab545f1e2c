# Progressive self-distillation. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # α_T of the authors' command line. All probabilities of all images would take 5.1 GB.
            past=dict(
                type='mmkd.ProgressiveSelfKD',
                student='head.fc',
                num_samples=1281167,
                alpha=0.8,
                top_k=20,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
