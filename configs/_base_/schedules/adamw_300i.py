# AdamW for 300 iterations: a linear warm-up of 50, then a cosine.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.003, weight_decay=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300, val_interval=300)
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
