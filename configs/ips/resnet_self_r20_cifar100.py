# IPS. ResNet-20 on CIFAR-100, without a teacher.
_base_ = '../students/resnet_r20_cifar100.py'
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        # Ours: the paper's patch size, probability, temperature and weight are not public.
        mixer=dict(type='mmkd.PatchSwap', patch_size=8, prob=0.5),
        methods=dict(ips=dict(type='mmkd.InstanceKD', student='head.fc', tau=4.0, weight=1.0)),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
# As many anchors in a step as the student has images, and a partner for each.
train_dataloader = dict(batch_size=128, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
