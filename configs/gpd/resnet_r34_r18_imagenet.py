# GPD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs, with DKD from the trained teacher.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
model = dict(
    distill=dict(
        methods=dict(
            gpd=dict(
                type='mmkd.GPD',
                student='head.fc',
                ratio=2,
                kd_weight=3.0,
                smoothing=0.1,
                static=dict(
                    type='mmkd.DKD',
                    student='head.fc',
                    teacher='head.fc',
                    tau=1.0,
                    alpha=1.0,
                    beta=0.5,
                    weight=1.0,
                ),
            )
        )
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
