# ACAM-KD with PatchMix simulation. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = './retinanet_r18_r18-w16_bccd.py'
# The combination with PatchMix simulation is ours.
model = dict(distill=dict(mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5)))
