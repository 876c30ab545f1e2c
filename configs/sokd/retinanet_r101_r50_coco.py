# SoKD-style PKD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
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
        methods=dict(
            # PKD's weight as in mmrazor; the plug-ins have no published values.
            pkd=dict(
                type='mmkd.PKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                weight=6.0,
                refine=dict(type='mmkd.DAFA'),
                # The method's weight is for standardised maps, and the head's loss is none of
                # them: 6 × 0.02.
                region=dict(type='mmkd.DAM', head_weight=0.02),
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
