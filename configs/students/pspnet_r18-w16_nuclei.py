_base_ = [
    '../_base_/models/pspnet_r18-w16.py',
    '../_base_/datasets/nuclei.py',
    '../_base_/schedules/adamw_300i.py',
    '../_base_/seg_runtime.py',
]
model = dict(decode_head=dict(num_classes=3))
