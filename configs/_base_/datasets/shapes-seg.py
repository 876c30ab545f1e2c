# Generated shapes (segmentation), 160 x 160 images in mmseg's layout, loaded as the nuclei are.
# python -m mmkd.datasets.shapes --out data/shapes
_base_ = './nuclei.py'
data_root = 'data/shapes/'
metainfo = dict(
    classes=('background', 'circle', 'hexagon', 'square', 'star', 'triangle'),
    palette=[
        [0, 0, 0],
        [230, 60, 60],
        [60, 160, 75],
        [0, 130, 200],
        [245, 190, 40],
        [145, 60, 180],
    ],
)
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo, img_suffix='.png'))
val_dataloader = train_dataloader
test_dataloader = train_dataloader
