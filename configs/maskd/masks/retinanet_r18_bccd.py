# Mask stage of MasKD: tokens for the FPN of RetinaNet R18 on BCCD. 200 iterations instead of 2000.
_base_ = '../../teachers/retinanet_r18_bccd.py'
model = dict(
    _delete_=True,
    type='mmkd.MaskLearner',
    teacher=dict(
        config='mmkd::teachers/retinanet_r18_bccd.py',
        checkpoint='work_dirs/teachers/retinanet_r18_bccd/teacher.pth',
    ),
    tap='neck',
    levels=(0, 1, 2, 3, 4),
    num_tokens=6,
)
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=200, val_interval=200)
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01, weight_decay=0.001)
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=200, eta_min=1e-6, by_epoch=False, begin=0, end=200)
]
default_hooks = dict(checkpoint=dict(by_epoch=False))
log_processor = dict(by_epoch=False)
