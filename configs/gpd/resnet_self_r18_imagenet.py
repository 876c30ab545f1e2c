# GPD without a trained teacher. ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
model = dict(
    distill=dict(
        methods=dict(
            gpd=dict(type='mmkd.GPD', student='head.fc', ratio=2, kd_weight=3.0, smoothing=0.1)
        )
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
