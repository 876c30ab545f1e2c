# ResNet-20 for 32 x 32 pixels, 0.28 M parameters; the other depths inherit it.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmkd.CIFARResNet', depth='20'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=64,
        init_cfg=None,  # torch's, as in the distillation literature
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
