# CrossKD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../students/retinanet_r18-w16_bccd.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/retinanet_r18_bccd.py',
            checkpoint='work_dirs/teachers/retinanet_r18_bccd/teacher.pth',
        ),
        methods=dict(
            # Heads of two convs, 32 and 64 channels wide: a 1x1 conv in front of the teacher's second.
            crosskd=dict(type='mmkd.CrossKD', head='retina', start=1),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
