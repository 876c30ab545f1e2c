_base_ = [
    '../_base_/models/gfl_r18.py',
    '../_base_/datasets/bccd.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/det_runtime.py',
]
model = dict(bbox_head=dict(num_classes=3))
