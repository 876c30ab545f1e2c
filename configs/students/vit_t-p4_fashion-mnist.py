_base_ = [
    '../_base_/models/vit_t-p4.py',
    '../_base_/datasets/fashion-mnist.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(in_channels=1))
# Transformers need a smaller learning rate than the ResNets of this schedule.
optim_wrapper = dict(optimizer=dict(lr=0.001))
