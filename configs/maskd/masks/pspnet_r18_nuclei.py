# Mask stage of MasKD: tokens for the features of PSPNet R18 on the nuclei. The authors learn them
# on the class maps, of which there are only three here. 200 iterations instead of 10k, Adam.
_base_ = '../../teachers/pspnet_r18_nuclei.py'
model = dict(
    _delete_=True,
    type='mmkd.MaskLearner',
    teacher=dict(
        config='mmkd::teachers/pspnet_r18_nuclei.py',
        checkpoint='work_dirs/teachers/pspnet_r18_nuclei/teacher.pth',
    ),
    tap='decode_head.bottleneck',
    num_tokens=6,
)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=200, val_interval=200)
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01, weight_decay=0.001)
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=200, eta_min=1e-6, by_epoch=False, begin=0, end=200)
]
