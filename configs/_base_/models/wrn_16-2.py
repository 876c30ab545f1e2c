# WRN-16-2 for 32 x 32 pixels, 0.70 M parameters.
_base_ = './cifar-resnet_20.py'
model = dict(
    backbone=dict(type='mmkd.CIFARWideResNet', depth='16-2'),
    head=dict(in_channels=128),
)
