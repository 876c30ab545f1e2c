# FGD. RetinaNet R18 -> quarter-width R18 on BCCD.
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
            # The published weights of RetinaNet, all times 0.1, as this student starts from
            # scratch; see README.
            fgd=dict(
                type='mmkd.FGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                alpha=1e-3,
                beta=5e-4,
                gamma=5e-4,
                lambda_=5e-6,
                tau=0.5,
                weight=0.1,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
