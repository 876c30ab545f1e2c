# Feature mimic. GFL R101 -> R50 on COCO: a student of 12 epochs, a teacher of 24 multi-scale ones.
_base_ = '../_base_/pairs/gfl_r101_r50_coco.py'
# Standardized maps, one weight for all detectors (origins: metafile.yml).
model = dict(
    distill=dict(
        inherit=('neck', 'bbox_head'),
        methods=dict(
            feature=dict(
                type='mmkd.FeatureMimic',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                normalize='channel',
                weight=6.0,
            )
        ),
    )
)
