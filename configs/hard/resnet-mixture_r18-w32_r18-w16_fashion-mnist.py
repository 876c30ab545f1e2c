# HARD, a learned choice of transforms. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = './resnet-affine_r18-w32_r18-w16_fashion-mnist.py'
model = dict(distill=dict(mixer=dict(augmentor=dict(type='mmkd.MixtureAugmentor'))))
