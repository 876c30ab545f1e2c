# OFA-KD, transformer to CNN. Tiny ViT -> ResNet w16 on 1000 images of Fashion-MNIST.
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
            # The published ε of CIFAR-100.
            ofa=dict(
                type='mmkd.OFA',
                student=dict(
                    logits='head.fc',
                    stages=[
                        'backbone.layer1',
                        'backbone.layer2',
                    ],
                ),
                teacher='head.layers.head',
                eps=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
