# The teacher once more: 20 epochs from its own weights, at half of its learning rate, cosine to 0.
# Alone this is more training; configs/mcmi/ adds the mutual information.
_base_ = './resnet_r28x4_cifar100.py'
load_from = 'work_dirs/teachers/resnet_r28x4_cifar100/teacher.pth'
optim_wrapper = dict(optimizer=dict(lr=0.025))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=20, eta_min=0.0, by_epoch=True, begin=0, end=20
)
train_cfg = dict(max_epochs=20, val_interval=1)
custom_hooks = [dict(type='mmkd.MetricWatchHook', metric='accuracy/top1', max_drop=2.0)]
