# WRN-16-2 on CIFAR-100 with the schedule of the distillation literature.
_base_ = [
    '../_base_/models/wrn_16-2.py',
    '../_base_/datasets/cifar100-32px.py',
    '../_base_/schedules/sgd-steps_240e.py',
    '../_base_/cls_runtime.py',
]
default_hooks = dict(checkpoint=dict(interval=10))
