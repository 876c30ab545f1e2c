# The student without its own loss, for a hint stage: 20 epochs on the same 1000 images.
_base_ = './resnet_r18-w16_fashion-mnist.py'
model = dict(head=dict(loss=dict(loss_weight=0.0)))
train_cfg = dict(max_epochs=20, val_interval=20)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], T_max=train_cfg['max_epochs'], end=train_cfg['max_epochs']),
]
