# CrossKD. FCOS R101 -> R50 on COCO, both trained for 24 multi-scale epochs.
_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py'
# The student's feature behind conv 2 of 4 and its activation, weights 0.4 and 0.75, as published.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py',
            checkpoint='auto',
        ),
        methods=dict(crosskd=dict(type='mmkd.CrossKD', head='fcos')),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
