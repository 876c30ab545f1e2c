# DeiT-T on CIFAR-100 at 224 pixels: mmpretrain's model and schedule of ImageNet (AdamW, 300 epochs,
# MixUp, CutMix), the rate scaled to 256 images per step; without RandAugment and erasing.
_base_ = [
    '../_base_/datasets/cifar100-224px.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    type='ImageClassifier',
    backbone=dict(type='VisionTransformer', arch='deit-tiny', img_size=224, patch_size=16),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=100,
        in_channels=192,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=0.00025), clip_grad=dict(max_norm=5.0))
