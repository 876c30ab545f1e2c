_base_ = [
    '../_base_/models/resnet_r18-w32.py',
    '../_base_/datasets/shapes-cls.py',
    '../_base_/schedules/adamw_10e.py',
    '../_base_/cls_runtime.py',
]
model = dict(head=dict(num_classes=5))
