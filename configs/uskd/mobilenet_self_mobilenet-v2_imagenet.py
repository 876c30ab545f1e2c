# USKD. MobileNetV2 on ImageNet, 300 epochs, without a teacher.
_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
# The authors' weights for ImageNet. The tap is ours: the last maps of stride 16, 96 channels.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.fc', feature='backbone.layer5'),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            )
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
