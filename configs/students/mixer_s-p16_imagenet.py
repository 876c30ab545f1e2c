# Mixer-S/16 by mmpretrain's recipe of Mixer-B/16.
_base_ = 'mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py'
model = dict(backbone=dict(arch='s'), head=dict(in_channels=512))
