# IPS. ResNet-18 on CIFAR-100, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_cifar100.py'
model = dict(
    distill=dict(
        # Ours: the paper's patch size, probability, temperature and weight are not public.
        mixer=dict(type='mmkd.PatchSwap', patch_size=8, prob=0.5),
        methods=dict(ips=dict(type='mmkd.InstanceKD', student='head.fc', tau=4.0, weight=1.0)),
    )
)
# As many anchors in a step as the student has images, and a partner for each.
train_dataloader = dict(batch_size=256, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
