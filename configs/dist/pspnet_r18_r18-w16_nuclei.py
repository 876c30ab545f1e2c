# DIST of the class maps. PSPNet R18 -> half-width R18 on the nuclei.
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
            # The values of the authors' segmentation code.
            dist=dict(
                type='mmkd.DIST',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                tau=1.0,
                beta=1.0,
                gamma=1.0,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
