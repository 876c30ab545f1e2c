# Mask stage of MasKD: tokens for the class maps of DeepLabV3 R101 on Cityscapes. The optimizer and
# the 10k iterations are those of the authors' code, whose batch is 16; here it is 8 (4 GPUs x 2).
_base_ = 'mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py'
model = dict(
    _delete_=True,
    type='mmkd.MaskLearner',
    teacher=dict(
        config='mmseg::deeplabv3/deeplabv3_r101-d8_4xb2-80k_cityscapes-512x1024.py',
        checkpoint='auto',
    ),
    tap='decode_head.conv_seg',
    num_tokens=8,
    token_weights=False,
)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=10000, val_interval=10000)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.001),
)
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end=10000, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=10000))
