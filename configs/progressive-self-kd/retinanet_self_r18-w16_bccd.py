# Self-distillation from the weights of the epoch before. Quarter-width RetinaNet R18 on BCCD.
_base_ = '../students/retinanet_r18-w16_bccd.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The form is ours, and so is the weight.
            past=dict(
                type='mmkd.SnapshotSelfKD',
                student='bbox_head.retina_cls',
                activation='sigmoid',
                num_classes=3,
                alpha=0.8,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
