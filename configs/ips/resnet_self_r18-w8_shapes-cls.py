# IPS. ResNet w8 on the generated shapes, without a teacher.
_base_ = '../students/resnet_r18-w8_shapes-cls.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        mixer=dict(type='mmkd.PatchSwap', patch_size=16, prob=0.5),
        methods=dict(ips=dict(type='mmkd.InstanceKD', student='head.fc', tau=4.0, weight=1.0)),
    ),
)
# As many anchors in a step as the student has images, and a partner for each.
train_dataloader = dict(batch_size=128, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
