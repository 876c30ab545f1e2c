# The whole backbone of retinanet_r18-w16.py as a classifier, on the generated crops at twice their
# size: it ends at stride 32.
_base_ = './resnet_r18-w8_shapes-cls.py'
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
    head=dict(in_channels=128),
)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline.insert(1, dict(type='Resize', scale=64))
test_pipeline.insert(1, dict(type='Resize', scale=64))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
