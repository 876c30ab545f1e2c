# Half of the backbone's width of retinanet_r18.py.
_base_ = './retinanet_r18.py'
model = dict(backbone=dict(base_channels=32), neck=dict(in_channels=[32, 64, 128, 256]))
