# A first training of the student itself, on the same 1000 images.
_base_ = '../students/resnet-droppath_r18-w16_fashion-mnist.py'
