# Feature mimicking on images mixed by MixUp. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = './pspnet-mimic_r18_r18-w16_nuclei.py'
model = dict(distill=dict(mixer=dict(type='mmkd.MixUp', prob=0.5)))
