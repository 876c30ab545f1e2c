# USKD. MobileNetV2 on ImageNet, 300 epochs, without a teacher.
_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
# The authors' weights for ImageNet, and their tap: the last maps before the final convolution.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer7'),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            )
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
