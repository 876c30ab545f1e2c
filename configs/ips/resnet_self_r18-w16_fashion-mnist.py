# IPS. ResNet w16 on 1000 images of Fashion-MNIST, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        # Patch size and weight were chosen on val (configs/studies/fashion-mnist-ips.yml).
        mixer=dict(type='mmkd.PatchSwap', patch_size=14, prob=0.5),
        methods=dict(ips=dict(type='mmkd.InstanceKD', student='head.fc', tau=4.0, weight=1.0)),
    )
)
# As many anchors in a step as the student has images, and a partner for each.
train_dataloader = dict(batch_size=128, batch_sampler=dict(type='mmkd.SameClassPairBatchSampler'))
