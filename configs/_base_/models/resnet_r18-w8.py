# The student of resnet_r18-w32.py: a quarter of its width.
_base_ = './resnet_r18-w32.py'
model = dict(backbone=dict(stem_channels=8, base_channels=8), head=dict(in_channels=16))
