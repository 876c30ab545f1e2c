# MGD. RetinaNet X101-64x4d -> R50 on COCO: 24 epochs, a teacher of 36 multi-scale ones.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_2x_coco.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::retinanet/retinanet_x101-64x4d_fpn_ms-640-800-3x_coco.py',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/retinanet/'
            'retinanet_x101_64x4d_fpn_mstrain_3x_coco/'
            'retinanet_x101_64x4d_fpn_mstrain_3x_coco_20210719_051838-022c2187.pth',
        ),
        inherit=('neck', 'bbox_head'),
        methods=dict(
            # The authors' values. They also clip gradients to a norm of 35:
            # --cfg-options optim_wrapper.clip_grad.max_norm=35
            mgd=dict(
                type='mmkd.MGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                mask_ratio=0.65,
                weight=2e-5,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
