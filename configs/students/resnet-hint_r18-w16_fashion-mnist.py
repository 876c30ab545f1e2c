# The student without its own loss, for a hint stage: 20 epochs on the same 1000 images.
_base_ = './resnet_r18-w16_fashion-mnist.py'
model = dict(head=dict(loss=dict(loss_weight=0.0)))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=20,
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=20, val_interval=20)
