_base_ = [
    '../_base_/models/retinanet_r18-w32.py',
    '../_base_/datasets/shapes-det.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/det_runtime.py',
]
# Shapes are 16 to 100 pixels wide, half of what the anchors of the base cover. The heads are
# normalized, because the whole training has only 2 400 iterations.
model = dict(
    bbox_head=dict(
        num_classes=5,
        norm_cfg=dict(type='GN', num_groups=8),
        anchor_generator=dict(octave_base_scale=2),
    )
)
# A higher learning rate than the schedule's: there are few iterations.
optim_wrapper = dict(optimizer=dict(lr=0.003))
