_base_ = 'mmkd::pskd/resnet_r18-w32_r18-w8_shapes-cls.py'
custom_imports = dict(imports=['pebbles'], allow_failed_imports=False)
model = dict(
    distill=dict(
        mixer=dict(_delete_=True, type='pebbles.Stripes', rows=8),
        methods=dict(
            edges=dict(
                type='pebbles.Edges',
                student='backbone',
                teacher='backbone',
            )
        ),
    )
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='pebbles.ListedImages',
        ann_file='train.txt',
        metainfo=dict(classes=('circle', 'hexagon', 'square', 'star', 'triangle')),
        pipeline=_base_.train_pipeline,
    )
)
