# AdamW for 1000 iterations: a linear warm-up of 50, then a cosine.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=train_cfg['max_iters'],
        eta_min=1e-5,
        by_epoch=False,
        begin=0,
        end=train_cfg['max_iters'],
    ),
]
