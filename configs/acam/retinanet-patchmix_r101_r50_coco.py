# ACAM-KD with PatchMix simulation. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = './retinanet_r101_r50_coco.py'
# The combination with PatchMix simulation is ours.
model = dict(distill=dict(mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5)))
