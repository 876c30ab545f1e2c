# USKD. DeiT-tiny on ImageNet, 300 epochs, without a teacher.
_base_ = 'mmpretrain::deit/deit-tiny_4xb256_in1k.py'
# The authors' weights for ImageNet. The tap is ours: the mean of the tokens of block 9.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            uskd=dict(
                type='mmkd.USKD',
                student=dict(
                    logits='head.layers.head', feature=dict(module='backbone.layers.8', tokens=True)
                ),
                alpha=1.0,
                beta=0.1,
                mu=0.005,
            )
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
