# CWD. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
# mmrazor's FPN recipe. Its published 41.9 belongs to the maps of the classification head.
model = dict(
    distill=dict(
        methods=dict(
            cwd=dict(
                type='mmkd.CWD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                tau=1.0,
                weight=10.0,
            )
        )
    )
)
