# Mask stage of MasKD: tokens for the FPN of Faster R-CNN R101 on COCO.
_base_ = './retinanet_r101_coco.py'
model = dict(teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'))
