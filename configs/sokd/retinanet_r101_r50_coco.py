# SoKD-style PKD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
# One weight for all detectors; the plug-ins have no published values. Origins: metafile.yml.
model = dict(
    distill=dict(
        methods=dict(
            pkd=dict(
                type='mmkd.PKD',
                student='neck',
                teacher='neck',
                levels=(0, 1, 2, 3, 4),
                weight=6.0,
                refine=dict(type='mmkd.DAFA'),
                # The method's weight is for standardized maps, and the head's loss is none of
                # them: 6 × 0.02.
                region=dict(type='mmkd.DAM', head_weight=0.02),
            )
        )
    )
)
