# Feature mimic. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
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
