# ACAM-KD. RepPoints R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = 'mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py'
# The reduction is ours: with the paper's the masks vanish.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::reppoints/reppoints-moment_r101_fpn-gn_head-gn_2x_coco.py',
            checkpoint='auto',
        ),
        inherit=('neck', 'bbox_head'),
        methods=dict(
            acam=dict(
                type='mmkd.ACAM',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                num_masks=6,
                reduction='weighted_mean',
                weight=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
