# PS-KD. RetinaNet R18 -> quarter-width R18 on the generated shapes.
_base_ = '../students/retinanet_r18-w16_shapes-det.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/retinanet_r18_shapes-det.py',
            checkpoint='work_dirs/teachers/retinanet_r18_shapes-det/teacher.pth',
        ),
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(
                    student='neck',
                    teacher='neck',
                    levels=(0, 1, 2, 3, 4),
                    normalize='channel',
                    weight=1.0,
                ),
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
