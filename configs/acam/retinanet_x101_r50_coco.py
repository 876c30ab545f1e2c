# ACAM-KD. RetinaNet X101-64x4d (12 epochs) -> R50 (24 epochs) on COCO.
_base_ = './retinanet_r101_r50_coco.py'
model = dict(
    distill=dict(teacher=dict(config='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py'))
)
