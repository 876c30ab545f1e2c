# ResNet-56 for 32 x 32 pixels, 0.86 M parameters.
_base_ = './cifar-resnet_20.py'
model = dict(backbone=dict(depth='56'))
