# PS-KD. PSPNet R18 -> half-width R18 on the generated shapes.
_base_ = '../students/pspnet_r18-w16_shapes-seg.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/pspnet_r18_shapes-seg.py',
            checkpoint='work_dirs/teachers/pspnet_r18_shapes-seg/teacher.pth',
        ),
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(
                    student='decode_head.bottleneck',
                    teacher='decode_head.bottleneck',
                    normalize='channel',
                    weight=1.0,
                ),
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
