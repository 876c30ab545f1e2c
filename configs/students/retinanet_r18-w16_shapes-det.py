# The teacher at half of its width.
_base_ = '../teachers/retinanet_r18_shapes-det.py'
model = dict(
    backbone=dict(base_channels=16),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32),
)
