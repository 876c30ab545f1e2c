# CrossKD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
model = dict(distill=dict(methods=dict(crosskd=dict(type='mmkd.CrossKD', head='retina'))))
# The student's feature behind conv 3 of 4 and its activation, weights 1 and 1, as published.
