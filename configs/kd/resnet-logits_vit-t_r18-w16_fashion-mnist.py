# Logit distillation. Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/vit_t-p4_fashion-mnist.py',
            checkpoint='work_dirs/teachers/vit_t-p4_fashion-mnist/teacher.pth',
        ),
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher='head.layers.head',
                tau=4.0,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
