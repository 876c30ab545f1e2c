# FGD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = 'mmdet::gfl/gfl_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/gfl/'
            'gfl_r101_fpn_mstrain_2x_coco/'
            'gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth',
        ),
        inherit=('neck', 'bbox_head'),
        methods=dict(
            # The authors' values of GFL. They also clip gradients to a norm of 35:
            # --cfg-options optim_wrapper.clip_grad.max_norm=35
            fgd=dict(
                type='mmkd.FGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                alpha=1e-3,
                beta=5e-4,
                gamma=5e-4,
                lambda_=5e-6,
                tau=0.5,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
