_base_ = [
    '../_base_/models/retinanet_r18-w32.py',
    '../_base_/datasets/shapes-det.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/det_runtime.py',
]
# Shapes are 16 to 100 pixels wide, half of what the anchors of the base cover. The heads are
# normalised, because the whole training has only 2 400 iterations.
model = dict(
    bbox_head=dict(
        num_classes=5,
        norm_cfg=dict(type='GN', num_groups=8),
        anchor_generator=dict(octave_base_scale=2),
    )
)
# A greater rate than the schedule's, for few iterations from scratch.
optim_wrapper = dict(optimizer=dict(lr=0.003))
