# AdamW for 8 epochs: a linear warm-up of 50 iterations, then a cosine. Other lengths inherit this.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=train_cfg['max_epochs'],
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=train_cfg['max_epochs'],
        convert_to_iter_based=True,
    ),
]
