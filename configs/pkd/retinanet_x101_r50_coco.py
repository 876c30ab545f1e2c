# PKD. RetinaNet X101-64x4d (12 epochs) -> R50 (24 epochs) on COCO.
_base_ = '../_base_/pairs/retinanet_x101_r50_coco.py'
model = dict(
    distill=dict(
        teacher=dict(config='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'),
        methods=dict(
            pkd=dict(
                type='mmkd.PKD', student='neck', teacher='neck', levels=(0, 1, 2, 3), weight=10.0
            )
        ),
    )
)
