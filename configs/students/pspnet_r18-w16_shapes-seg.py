# The teacher at half of its width.
_base_ = '../teachers/pspnet_r18_shapes-seg.py'
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    decode_head=dict(in_channels=128, channels=32),
)
