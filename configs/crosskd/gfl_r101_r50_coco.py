# CrossKD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
model = dict(distill=dict(methods=dict(crosskd=dict(type='mmkd.CrossKD', head='gfl'))))
# The student's feature behind conv 3 of 4 and its activation, weights 1 and 4, as published.
