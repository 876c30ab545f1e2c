# SoKD-style PKD (DAFA alone: there are no boxes). PSPNet R18 -> half-width R18 on the nuclei.
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
            pkd=dict(
                type='mmkd.PKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                weight=2.0,
                refine=dict(type='mmkd.DAFA', every=5),
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
