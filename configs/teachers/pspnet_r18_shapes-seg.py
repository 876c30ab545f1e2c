_base_ = [
    '../_base_/models/pspnet_r18.py',
    '../_base_/datasets/shapes-seg.py',
    '../_base_/schedules/adamw_1000i.py',
    '../_base_/seg_runtime.py',
]
model = dict(decode_head=dict(num_classes=6))
# A higher learning rate than the schedule's: there are few iterations.
optim_wrapper = dict(optimizer=dict(lr=0.003))
