# MGD. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
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
            # The authors' values, on the last stage (512 and 2048 channels). They train for 40k
            # iterations on crops of 512x512, half as many cells as here.
            mgd=dict(
                type='mmkd.MGD',
                student='backbone',
                teacher='backbone',
                levels=(3,),
                mask_ratio=0.75,
                weight=2e-5,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
