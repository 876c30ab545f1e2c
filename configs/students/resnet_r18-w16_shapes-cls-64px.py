# The whole backbone of retinanet_r18-w16.py as a classifier, on the generated crops at twice their
# size: it ends at stride 32.
_base_ = [
    '../_base_/models/resnet_r18-w8.py',
    '../_base_/datasets/shapes-cls.py',
    '../_base_/schedules/adamw_10e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
    ),
    head=dict(num_classes=5, in_channels=128),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=64),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
