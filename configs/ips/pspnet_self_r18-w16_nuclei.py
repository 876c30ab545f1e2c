# IPS, dense form (ours). Half-width PSPNet R18 on the nuclei, without a teacher.
_base_ = '../students/pspnet_r18-w16_nuclei.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        mixer=dict(type='mmkd.PatchSwap', patch_size=16, prob=0.5),
        methods=dict(
            ips=dict(type='mmkd.InstanceKD', student='decode_head.conv_seg', tau=4.0, weight=1.0)
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
