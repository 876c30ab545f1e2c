# FGD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
# The authors' values of RetinaNet. They also clip gradients to a norm of 35: --cfg-options
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
