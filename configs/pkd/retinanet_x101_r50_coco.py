# PKD. RetinaNet X101-64x4d -> R50 on COCO: 24 epochs, a teacher of 36 multi-scale ones.
_base_ = '../_base_/pairs/retinanet_x101_r50_coco.py'
# Weight 6 as in mmrazor; all levels of a five-level head.
model = dict(
    distill=dict(
        methods=dict(
            pkd=dict(
                type='mmkd.PKD', student='neck', teacher='neck', levels=(0, 1, 2, 3, 4), weight=6.0
            )
        )
    )
)
