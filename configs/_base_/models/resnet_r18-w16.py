# The student of resnet_r18-w32.py: half of its width.
_base_ = './resnet_r18-w32.py'
model = dict(backbone=dict(stem_channels=16, base_channels=16), head=dict(in_channels=32))
