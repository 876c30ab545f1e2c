_base_ = [
    '../_base_/models/retinanet_r18-w16.py',
    '../_base_/datasets/shapes-det.py',
    '../_base_/schedules/adamw_4e.py',
    '../_base_/det_runtime.py',
]
# Shapes are 16 to 100 pixels wide, half of what the anchors of the base cover.
model = dict(bbox_head=dict(num_classes=5, anchor_generator=dict(octave_base_scale=2)))
