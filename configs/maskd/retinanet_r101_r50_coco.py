# MasKD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
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
            # The authors' values. Their L1 loss on the raw boxes is not part of it.
            # First: masks/retinanet_r101_coco.py
            maskd=dict(
                type='mmkd.MasKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tokens='work_dirs/masks/retinanet_r101_coco/iter_2000.pth',
                custom_mask_warmup=7000,
                weight=7.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
