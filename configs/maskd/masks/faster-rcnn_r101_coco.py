# Mask stage of MasKD: tokens for the FPN of Faster R-CNN R101 on COCO.
_base_ = './retinanet_r101_coco.py'
model = dict(teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'))
# The authors train RetinaNet's tokens with Adam and these with SGD.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001)
)
