_base_ = [
    '../_base_/models/vit_t-p4.py',
    '../_base_/datasets/fashion-mnist.py',
    '../_base_/schedules/adamw_8e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(in_channels=1))
# All training images but those of val: a teacher that has seen much more than its students.
train_dataloader = dict(dataset=dict(indices=55000))
