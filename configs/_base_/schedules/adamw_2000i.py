# adamw_1000i.py for 2000 iterations.
_base_ = './adamw_1000i.py'
train_cfg = dict(max_iters=2000, val_interval=2000)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=train_cfg['max_iters'], end=train_cfg['max_iters']),
]
