# Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../../students/resnet_r18-w16_fashion-mnist.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/vit_t-p4_fashion-mnist.py',
            checkpoint='work_dirs/teachers/vit_t-p4_fashion-mnist/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
