# ACAM-KD. RetinaNet X101-64x4d (12 epochs) -> R50 (24 epochs) on COCO.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
            'retinanet_x101_64x4d_fpn_1x_coco/'
            'retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth',
        ),
        inherit=('neck', 'bbox_head'),
        methods=dict(
            # The reduction is ours: with the paper's and with MasKD's the masks vanish.
            acam=dict(
                type='mmkd.ACAM',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                num_masks=6,
                reduction='weighted_mean',
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
