# IPS. The backbone of the small detectors, on the generated shapes, without a teacher;
# students/retinanet_r18-w16-ips_shapes-det.py starts from it.
_base_ = '../students/resnet_r18-w16_shapes-cls-64px.py'
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
