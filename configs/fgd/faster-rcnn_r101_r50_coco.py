# FGD. Faster R-CNN R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/faster-rcnn_r101_r50_coco.py'
# The authors' values of two-stage detectors. They also clip gradients to a norm of 35:
# --cfg-options optim_wrapper.clip_grad.max_norm=35
model = dict(
    distill=dict(
        inherit=('neck', 'rpn_head', 'roi_head'),
        methods=dict(
            fgd=dict(
                type='mmkd.FGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3),
                alpha=5e-5,
                beta=2.5e-5,
                gamma=5e-5,
                lambda_=5e-7,
                tau=0.5,
            )
        ),
    )
)
