optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=600, eta_min=1e-5, by_epoch=False, begin=0, end=600),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=600)
