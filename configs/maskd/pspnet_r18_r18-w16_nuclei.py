# MasKD. PSPNet R18 -> half-width R18 on the nuclei.
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
            # The published factor, here on features: the class maps of the authors are only three.
            # First: masks/pspnet_r18_nuclei.py
            maskd=dict(
                type='mmkd.MasKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                tokens='work_dirs/masks/pspnet_r18_nuclei/iter_200.pth',
                weight=0.5,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
