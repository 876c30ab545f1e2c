# Feature mimicking on images mixed by MixUp. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = './retinanet-mimic_r18_r18-w16_bccd.py'
model = dict(distill=dict(mixer=dict(type='mmkd.MixUp', prob=0.5)))
