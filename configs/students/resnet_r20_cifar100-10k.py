_base_ = [
    '../_base_/models/cifar-resnet_20.py',
    '../_base_/datasets/cifar100-10k.py',
    '../_base_/schedules/sgd-onecycle_100e.py',
    '../_base_/cls_runtime.py',
]
# It can be continued.
default_hooks = dict(checkpoint=dict(interval=10))
