_base_ = 'mmkd::pskd/retinanet_r18_r18-w16_shapes-det.py'
custom_imports = dict(imports=['pebbles'], allow_failed_imports=False)
model = dict(
    distill=dict(
        mixer=dict(_delete_=True, type='pebbles.Stripes', rows=8),
        methods=dict(
            edges=dict(
                type='pebbles.Edges',
                student='neck',
                teacher='neck',
                levels=(0, 1),
            )
        ),
    )
)
