# An ordinary detector whose backbone was trained with IPS on the generated crops:
# python tools/train.py configs/ips/resnet_self_r18-w16_shapes-cls-64px.py
_base_ = './retinanet_r18-w16_shapes-det.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/resnet_self_r18-w16_shapes-cls-64px/epoch_10.pth',
        )
    )
)
