# GPD with logit KD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/resnet_r18-w32_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth',
        ),
        methods=dict(
            # Ratio and kd_weight of the published ImageNet commands; logit KD as in configs/kd.
            gpd=dict(
                type='mmkd.GPD',
                student='head.fc',
                ratio=2,
                kd_weight=3.0,
                static=dict(
                    type='mmkd.LogitKD', student='head.fc', teacher='head.fc', tau=4.0, weight=1.0
                ),
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
