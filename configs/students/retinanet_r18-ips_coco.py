# An ordinary detector whose backbone was trained with IPS on ImageNet:
# bash tools/dist_train.sh configs/ips/resnet_self_r18_imagenet.py 8
_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/resnet_self_r18_imagenet/epoch_100.pth',
        )
    )
)
