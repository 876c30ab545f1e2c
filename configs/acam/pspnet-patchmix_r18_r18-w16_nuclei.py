# ACAM-KD with PatchMix simulation. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = './pspnet_r18_r18-w16_nuclei.py'
# The combination with PatchMix simulation is ours.
model = dict(distill=dict(mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5)))
