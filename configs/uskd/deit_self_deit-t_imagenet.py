# USKD. DeiT-tiny on ImageNet, 300 epochs, without a teacher.
_base_ = 'mmpretrain::deit/deit-tiny_4xb256_in1k.py'
# The authors' weights for ImageNet, and their tap: the class token of the middle block.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(logits='head.layers.head', feature='backbone.layers.5'),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            )
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
