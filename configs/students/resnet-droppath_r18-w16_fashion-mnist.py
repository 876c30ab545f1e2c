# The student of Fashion-MNIST with drop-path for stochastic self-distillation. Rates rise linearly
# over the eight blocks of a ResNet-18, of which this one has four: 0 to 0.21.
_base_ = './resnet_r18-w16_fashion-mnist.py'
model = dict(backbone=dict(drop_path_rate=0.5))
