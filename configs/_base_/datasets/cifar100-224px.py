# CIFAR-100 enlarged to 224 x 224, as OFA-KD's recipes have it, so that models of ImageNet fit.
_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=224, interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='Resize', scale=224, interpolation='bicubic'), dict(type='PackInputs')]
train_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=128, num_workers=8, dataset=dict(pipeline=test_pipeline))
