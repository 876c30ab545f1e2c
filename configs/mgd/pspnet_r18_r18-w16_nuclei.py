# MGD. PSPNet R18 -> half-width R18 on the nuclei.
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
            # The published weight; on this map it fits a student from scratch as well, see README.
            mgd=dict(
                type='mmkd.MGD',
                student='backbone',
                teacher='backbone',
                levels=(3,),
                mask_ratio=0.75,
                weight=2e-5,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
