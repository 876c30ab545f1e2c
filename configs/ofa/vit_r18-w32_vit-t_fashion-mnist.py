# OFA-KD, CNN to transformer. ResNet w32 -> tiny ViT on 1000 images of Fashion-MNIST.
_base_ = '../students/vit_t-p4_fashion-mnist.py'
# The published ε of CIFAR-100.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r18-w32_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth',
        ),
        methods=dict(
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.layers.head', stages=[f'backbone.layers.{i}' for i in (0, 1, 2, 3)]
                ),
                teacher='head.fc',
                eps=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
