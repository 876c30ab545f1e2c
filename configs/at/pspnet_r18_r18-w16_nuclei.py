# AT. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../students/pspnet_r18-w16_nuclei.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/pspnet_r18_nuclei.py',
            checkpoint='work_dirs/teachers/pspnet_r18_nuclei/teacher.pth',
        ),
        methods=dict(
            # Published: 10000. The maps are small, so the mean over their cells is large; see
            # README.
            at=dict(
                type='mmkd.AT',
                student='backbone',
                teacher='backbone',
                levels=(0, 1, 2, 3),
                p=2.0,
                weight=200.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
