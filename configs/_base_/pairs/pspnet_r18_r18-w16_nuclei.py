# PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../../students/pspnet_r18-w16_nuclei.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/pspnet_r18_nuclei.py',
            checkpoint='work_dirs/teachers/pspnet_r18_nuclei/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
