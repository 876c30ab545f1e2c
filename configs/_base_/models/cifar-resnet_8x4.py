# ResNet-8x4 for 32 x 32 pixels, 1.23 M parameters.
_base_ = './cifar-resnet_20.py'
model = dict(backbone=dict(depth='8x4'), head=dict(in_channels=256))
