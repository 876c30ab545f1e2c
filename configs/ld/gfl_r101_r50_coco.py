# LD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
model = dict(distill=dict(methods=dict(ld=dict(type='mmkd.LD', cls_weight=10.0))))
# Main and valuable region with weight 0.25 each, class logits with weight 10, as published; the
# region as in the official code (overlap='iou' is the paper's).
