# sgd-onecycle_100e.py for 60 epochs and twice its batch.
_base_ = './sgd-onecycle_100e.py'
optim_wrapper = dict(optimizer=dict(lr=0.1))
train_cfg = dict(max_epochs=60, val_interval=10)
param_scheduler = [
    dict(_base_.param_scheduler[0], eta_max=0.1, total_steps=train_cfg['max_epochs'])
]
