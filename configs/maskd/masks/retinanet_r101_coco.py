# Mask stage of MasKD: tokens for the FPN of RetinaNet R101 on COCO. Values of the authors' code.
_base_ = 'mmdet::retinanet/retinanet_r101_fpn_2x_coco.py'
model = dict(
    _delete_=True,
    type='mmkd.MaskLearner',
    teacher=dict(config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py', checkpoint='auto'),
    tap='neck',
    levels=(0, 1, 2, 3, 4),
    num_tokens=6,
)
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2000, val_interval=2000)
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01, weight_decay=0.001)
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=2000, eta_min=1e-6, by_epoch=False, begin=0, end=2000)
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2000))
log_processor = dict(by_epoch=False)
