# RetinaNet R18 -> quarter-width R18 on VOC-5.
_base_ = '../../students/retinanet_r18-w16_voc5.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/retinanet_r18_voc5.py',
            checkpoint='work_dirs/teachers/retinanet_r18_voc5/teacher.pth',
        )
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
