# RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../../students/retinanet_r18-w16_bccd.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/retinanet_r18_bccd.py',
            checkpoint='work_dirs/teachers/retinanet_r18_bccd/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
