# ResNet-14x4 on CIFAR-100: ResNet-18's blocks (2, 2, 2) without its fourth stage, 64, 128 and 256
# channels at strides 1, 2 and 4, after a stem of 32 channels. ResNet-8x4 has blocks (1, 1, 1).
_base_ = 'mmpretrain::resnet/resnet50_8xb16_cifar100.py'
model = dict(
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_channels=32,
    ),
    head=dict(in_channels=256),
)
# mdistiller's schedule: one GPU, batch 64, 240 epochs.
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.0005))
param_scheduler = dict(milestones=[150, 180, 210], gamma=0.1)
train_cfg = dict(max_epochs=240)
auto_scale_lr = dict(base_batch_size=64)
# The pair goes in the next release; every config that inherits this one warns.
_deprecation_ = dict(expected='resnet_r32x4_r8x4_cifar100.py', reference='configs/pskd/README.md')
