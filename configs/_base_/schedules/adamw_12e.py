# adamw_8e.py for 12 epochs.
_base_ = './adamw_8e.py'
train_cfg = dict(max_epochs=12, val_interval=12)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=train_cfg['max_epochs'], end=train_cfg['max_epochs']),
]
