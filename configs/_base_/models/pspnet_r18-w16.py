# The student of pspnet_r18.py: half of its width.
_base_ = './pspnet_r18.py'
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    decode_head=dict(in_channels=128, channels=32),
)
