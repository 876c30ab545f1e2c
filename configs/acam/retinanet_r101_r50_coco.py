# ACAM-KD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::retinanet/retinanet_r101_fpn_2x_coco.py',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
            'retinanet_r101_fpn_2x_coco/'
            'retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth',
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
