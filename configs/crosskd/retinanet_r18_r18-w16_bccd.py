# CrossKD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
model = dict(distill=dict(methods=dict(crosskd=dict(type='mmkd.CrossKD', head='retina', start=1))))
# Heads of two convs, 32 and 64 channels wide: a 1x1 conv in front of the teacher's second.
