# ACAM-KD. Cascade Mask R-CNN X101-64x4d (20 epochs) -> Faster R-CNN R50 (24 epochs) on COCO.
_base_ = './faster-rcnn_r101_r50_coco.py'
# None of the cascade's three box heads fits.
model = dict(
    distill=dict(
        teacher=dict(config='mmdet::cascade_rcnn/cascade-mask-rcnn_x101-64x4d_fpn_20e_coco.py'),
        inherit=('neck', 'rpn_head'),
    )
)
