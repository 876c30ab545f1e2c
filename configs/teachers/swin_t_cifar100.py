# Swin-T on CIFAR-100 at 224 pixels, from mmpretrain's weights of ImageNet.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    '../_base_/datasets/cifar100-224px.py',
    '../_base_/schedules/adamw-finetune_20e.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/'
            'swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth',
            prefix='backbone',
        )
    ),
    head=dict(num_classes=100),
)
