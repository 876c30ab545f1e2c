# adamw_8e.py for 40 epochs, at a learning rate of 0.003.
_base_ = './adamw_8e.py'
optim_wrapper = dict(optimizer=dict(lr=0.003))
train_cfg = dict(max_epochs=40, val_interval=40)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=train_cfg['max_epochs'], end=train_cfg['max_epochs']),
]
