# ACAM-KD. PSPNet R18 -> half-width R18 on the nuclei.
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
            # On the maps of logits: one mask for each class. Reduction and weight are ours: with the
            # paper's and with MasKD's reduction the masks vanish, and a weight of 1 is more than 20
            # times the task loss here.
            acam=dict(
                type='mmkd.ACAM',
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                num_masks=3,
                reduction='weighted_mean',
                weight=0.1,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
