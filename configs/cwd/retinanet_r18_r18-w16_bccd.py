# CWD. RetinaNet R18 -> quarter-width R18 on BCCD.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_bccd.py'
# Published for a pretrained student: 10. From scratch that is 30 times the task loss; see README.
model = dict(
    distill=dict(
        methods=dict(
            cwd=dict(
                type='mmkd.CWD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tau=1.0,
                weight=0.5,
            )
        )
    )
)
