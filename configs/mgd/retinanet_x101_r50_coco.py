# MGD. RetinaNet X101-64x4d -> R50 on COCO: 24 epochs, a teacher of 36 multi-scale ones.
_base_ = '../_base_/pairs/retinanet_x101_r50_coco.py'
# The authors' values. They also clip gradients to a norm of 35: --cfg-options
# optim_wrapper.clip_grad.max_norm=35
model = dict(
    distill=dict(
        inherit=('neck', 'bbox_head'),
        methods=dict(
            mgd=dict(
                type='mmkd.MGD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                mask_ratio=0.65,
                weight=2e-5,
            )
        ),
    )
)
