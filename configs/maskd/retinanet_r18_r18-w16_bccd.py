# MasKD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../students/retinanet_r18-w16_bccd.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        teacher=dict(
            config='mmkd::teachers/retinanet_r18_bccd.py',
            checkpoint='work_dirs/teachers/retinanet_r18_bccd/teacher.pth',
        ),
        methods=dict(
            # Published: 7. The maps are compared as they are and the 1x1 convolutions are not
            # trained yet; see README.
            # First: masks/retinanet_r18_bccd.py
            maskd=dict(
                type='mmkd.MasKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tokens='work_dirs/masks/retinanet_r18_bccd/iter_200.pth',
                custom_mask_warmup=50,
                weight=0.15,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
