# AT. RetinaNet R18 -> quarter-width R18 on BCCD.
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
            # Published on CIFAR: 1000. The top levels have few cells, so their means are large; see
            # README.
            at=dict(
                type='mmkd.AT',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                p=2.0,
                weight=100.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
