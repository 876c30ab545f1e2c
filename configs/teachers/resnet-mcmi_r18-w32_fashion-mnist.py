# The teacher once more: 2 epochs on the same images, from its own weights, at half of its learning
# rate. Alone this is more training; configs/mcmi/ adds the mutual information.
_base_ = './resnet_r18-w32_fashion-mnist.py'
load_from = 'work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth'
optim_wrapper = dict(optimizer=dict(lr=0.0005))
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [dict(_base_.param_scheduler[1], T_max=2, eta_min=0.0, end=2)]
custom_hooks = [dict(type='mmkd.MetricWatchHook', metric='accuracy/top1', max_drop=2.0)]
