# AT. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py',
            checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/'
            'pspnet_r101-d8_512x1024_80k_cityscapes/'
            'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth',
        ),
        methods=dict(
            # Weight 10000 as in CIRKD's re-implementation for segmentation; that it is all four
            # stages of the backbone is ours.
            at=dict(
                type='mmkd.AT',
                student='backbone',
                teacher='backbone',
                levels=(0, 1, 2, 3),
                p=2.0,
                weight=10000.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
