# LD. GFL R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/gfl_r18_r18-w16_bccd.py'
model = dict(distill=dict(methods=dict(ld=dict(type='mmkd.LD'))))
