# GFL R18 -> quarter-width R18 on BCCD.
_base_ = '../../students/gfl_r18-w16_bccd.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/gfl_r18_bccd.py',
            checkpoint='work_dirs/teachers/gfl_r18_bccd/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
