# Generated shapes (detection), 160 x 160 images in COCO layout, loaded as BCCD is.
# python -m mmkd.datasets.shapes --out data/shapes
_base_ = './bccd.py'
data_root = 'data/shapes/'
metainfo = dict(
    classes=('circle', 'hexagon', 'square', 'star', 'triangle'),
    palette=[(230, 60, 60), (60, 160, 75), (0, 130, 200), (245, 190, 40), (145, 60, 180)],
)
scale = (160, 160)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2]['scale'] = test_pipeline[1]['scale'] = scale  # of Resize
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img='img_dir/train/'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img='img_dir/val/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = dict(
    dataset=dict(val_dataloader['dataset'], data_prefix=dict(img='img_dir/test/'))
)
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')
