# Quarter-width RetinaNet R18 on BCCD, without a teacher.
_base_ = '../../students/retinanet_r18-w16_bccd.py'
model = dict(type='mmkd.Distilled', student=_base_.model.type)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
