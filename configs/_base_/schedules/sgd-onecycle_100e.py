# SGD for 100 epochs with one cycle of the learning rate. Another length: `train_cfg.max_epochs` and
# `param_scheduler.0.total_steps`.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.0005),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=100)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=0.05,
        total_steps=train_cfg['max_epochs'],
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
