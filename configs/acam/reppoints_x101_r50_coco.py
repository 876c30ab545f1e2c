# ACAM-KD. RepPoints X101-DCN -> R50 on COCO, both trained for 24 epochs.
_base_ = './reppoints_r101_r50_coco.py'
model = dict(
    distill=dict(
        teacher=dict(
            config='mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py'
        )
    )
)
