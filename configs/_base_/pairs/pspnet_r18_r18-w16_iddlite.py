# PSPNet R18 -> half-width R18 on IDD Lite.
_base_ = '../../students/pspnet_r18-w16_iddlite.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/pspnet_r18_iddlite.py',
            checkpoint='work_dirs/teachers/pspnet_r18_iddlite/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
