# FGD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
# The authors' values of GFL. They also clip gradients to a norm of 35: --cfg-options
# optim_wrapper.clip_grad.max_norm=35
model = dict(
    distill=dict(
        inherit=('neck', 'bbox_head'),
        methods=dict(
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
            )
        ),
    )
)
