# The teacher of CIFAR-100's small protocol: ResNet-56 on all training images but those of val.
_base_ = [
    '../_base_/models/cifar-resnet_56.py',
    '../_base_/datasets/cifar100-45k.py',
    '../_base_/schedules/sgd-onecycle_60e.py',
    '../_base_/cls_runtime.py',
]
# A run takes hours: it can be continued from its last epoch.
default_hooks = dict(checkpoint=dict(interval=1))
