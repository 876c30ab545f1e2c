_base_ = [
    '../_base_/models/resnet_r18-w16.py',
    '../_base_/datasets/fashion-mnist.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(in_channels=1))
