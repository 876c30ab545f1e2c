# MixUp distillation: the losses of PS-KD, images mixed by MixUp, teacher on the mixed images.
# RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = './retinanet-mimic_r18_r18-w16_bccd.py'
model = dict(distill=dict(mixer=dict(type='mmkd.MixUp', prob=0.5)))
