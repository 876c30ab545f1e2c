# SoKD-style feature mimicking. RetinaNet R18 -> quarter-width R18 on BCCD.
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
            feature=dict(
                type='mmkd.FeatureMimic',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                normalize=True,
                # Half of what it is without plug-ins, as the region counts as much again.
                weight=0.5,
                refine=dict(type='mmkd.DAFA', every=5),
                region=dict(type='mmkd.DAM'),
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
