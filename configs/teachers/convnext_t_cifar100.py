# ConvNeXt-T on CIFAR-100 at 224 pixels, from mmpretrain's weights of ImageNet.
_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    '../_base_/datasets/cifar100-224px.py',
    '../_base_/schedules/adamw-finetune_20e.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/'
            'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone',
        )
    ),
    head=dict(num_classes=100),
)
