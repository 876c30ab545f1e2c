# The student of gfl_r18.py: a quarter of the backbone's width, half of the FPN's.
_base_ = './gfl_r18.py'
model = dict(
    backbone=dict(base_channels=16),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32),
)
